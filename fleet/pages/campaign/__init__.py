"""The page of a campaign, at present and at an earlier time, and its heat map."""
