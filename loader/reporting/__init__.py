"""Writes progress, errors and the heartbeat, which is also the lease of the tail, to the status bucket."""
