"""Writes the status bucket: progress, errors, heartbeat, and the lease of the tail that the heartbeat is."""
