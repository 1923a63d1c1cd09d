"""Who may see what, how work is queued, and how a change reaches a browser."""
