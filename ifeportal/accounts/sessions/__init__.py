"""Sessions: their end, and how sessions and tokens are ended before it."""
