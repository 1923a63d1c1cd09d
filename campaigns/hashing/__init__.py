"""Hashes of content:

SHA-256 that can be resumed, and the ETags of multipart uploads. Touches no database and no bucket.
"""
