"""Writes campaigns into the media bucket: content first, campaign.json last. Touches no database."""
