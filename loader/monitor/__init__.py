"""Listeners to the loader's events: status board, terminal, systemd. Never slows or fails a transfer."""
