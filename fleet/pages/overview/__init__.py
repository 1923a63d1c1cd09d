"""The page of all airlines."""
