"""The page of loads that need attention in the user's airlines, and the form that acknowledges them."""
