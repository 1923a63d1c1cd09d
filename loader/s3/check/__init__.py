"""Tries out what a loader or a portal needs of a store, and says what is missing. Leaves nothing behind in a bucket."""
