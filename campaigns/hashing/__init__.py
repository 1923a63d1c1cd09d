"""Hashes of content: resumable SHA-256, and ETags of multipart uploads. Touches no database and no bucket."""
