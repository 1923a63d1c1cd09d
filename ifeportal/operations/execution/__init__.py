"""Execution of operations in workers: leases, slices, progress, and what follows a slice."""
