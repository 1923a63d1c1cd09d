"""The change feed: a change in the database reaches every open page."""
