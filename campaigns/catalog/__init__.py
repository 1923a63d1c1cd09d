"""Reads the media bucket into Campaign and ContentItem rows."""
