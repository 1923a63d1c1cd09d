"""Outgoing requests to addresses that users name: the one client that refuses private networks."""
