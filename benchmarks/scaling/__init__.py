"""Requirements of a fleet of any size: `python -m benchmarks.scaling`."""
