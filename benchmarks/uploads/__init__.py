"""Uploads from browsers, and the operations that check and place them: `python -m benchmarks.uploads`."""
