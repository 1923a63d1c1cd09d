"""One content directory: durable, locked, no link followed. Touches nothing outside it."""
