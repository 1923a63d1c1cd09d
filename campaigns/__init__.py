"""Campaigns: their manifests and items in the media bucket, drafts in the admin, publishing and signing."""
