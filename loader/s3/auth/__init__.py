"""Credentials, request signatures, and redaction of secrets."""
