"""The portal with a large database: `python -m benchmarks.portal`."""
