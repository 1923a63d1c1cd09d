"""The status bucket in Django: what has arrived."""
