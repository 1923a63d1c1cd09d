"""Limits of guesses: attempts counted in the database, by user, network, site and device; the lock-out."""
