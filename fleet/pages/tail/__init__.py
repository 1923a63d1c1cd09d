"""The page of a tail."""
