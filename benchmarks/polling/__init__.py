"""Polling the status bucket compared with programs that mirror it: `python -m benchmarks.polling`."""
