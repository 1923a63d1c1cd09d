"""Syncs Campaign and ContentItem rows with the media bucket."""
