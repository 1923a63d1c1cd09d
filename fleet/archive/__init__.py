"""Reports of finished loads as one object each: writing, deleting and restoring them."""
