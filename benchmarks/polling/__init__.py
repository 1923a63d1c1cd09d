"""Reading the status bucket against programs that mirror it: `python -m benchmarks.polling`."""
