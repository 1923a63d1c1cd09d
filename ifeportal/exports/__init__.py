"""Table files for download: small ones directly, large ones written by a job and stored until they expire.

A large file is never built while its reader waits: a slow reader would hold a thread, a query and a connection.
"""
