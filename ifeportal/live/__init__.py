"""The change feed: changes in the database reach every open page."""
