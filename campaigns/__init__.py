"""The media bucket in Django: what should fly."""
