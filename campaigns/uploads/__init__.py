"""Uploads: content comes into the media bucket from browsers, programs and URLs."""
