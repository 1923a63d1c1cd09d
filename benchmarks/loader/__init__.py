"""The loader against other S3 clients: `python -m benchmarks.loader`."""
