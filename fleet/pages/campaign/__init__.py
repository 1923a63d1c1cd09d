"""The campaign page, current and at an earlier time, and its heat map."""
