"""Pages of the library: the list, one item, and the choice of items for a campaign."""
