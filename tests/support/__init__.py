"""Helpers of the tests: stores, processes, rows and clients. No fixtures but those that a conftest.py imports."""
