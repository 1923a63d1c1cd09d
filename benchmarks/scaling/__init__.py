"""What a fleet of any size needs: `python -m benchmarks.scaling`."""
