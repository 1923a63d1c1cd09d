"""Pages, API, sockets and a browser with 20,000 tails in one database: `python -m benchmarks.portal`."""
