"""The media bucket in Django: campaigns and content items, read from manifests, edited as drafts, published."""
