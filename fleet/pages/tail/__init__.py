"""The page of an aircraft."""
