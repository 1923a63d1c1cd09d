"""Loads that need action: finding them, grouping them by likely cause, acknowledging them."""
