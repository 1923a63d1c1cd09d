"""Reads the media bucket: transfer queue, manifests, signatures. Writes only the trust state and the queue to disk."""
