"""Uploads in the API: parsing of requests, the endpoints, and their errors."""
