"""The attention page: loads that need attention, and the form that acknowledges them."""
