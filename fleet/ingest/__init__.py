"""Writing observations of tails: rows, totals, history and feed in one transaction."""
