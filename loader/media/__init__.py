"""Reads the media bucket: transfer queue, manifests, signatures. Writes only the state of trust and queue to disk."""
