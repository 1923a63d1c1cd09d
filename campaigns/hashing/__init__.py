"""Hashes of content: resumable SHA-256, and ETags of uploads. Touches neither database nor bucket."""
