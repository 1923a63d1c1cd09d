"""Loads that need attention: query them, group them by likely cause, acknowledge them."""
