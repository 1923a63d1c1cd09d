"""The loader compared with other programs: `python -m benchmarks.loader`."""
