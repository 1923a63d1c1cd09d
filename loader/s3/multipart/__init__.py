"""Objects in parts: sent, signed for others, copied inside the store, found again when nobody finishes them."""
