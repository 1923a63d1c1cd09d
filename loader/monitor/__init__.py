"""Listeners to events of the loader: status board, terminal, systemd. Never slows or fails a transfer."""
