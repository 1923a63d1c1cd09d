"""Credentials, signatures, and keeping secrets out of logs."""
