"""Helpers of the tests: stores, processes, rows and clients. A conftest.py imports the fixtures."""
