"""Objects in parts: sending, signing for clients, copying inside the store, listing unfinished uploads."""
