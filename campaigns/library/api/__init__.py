"""The library in the API."""
