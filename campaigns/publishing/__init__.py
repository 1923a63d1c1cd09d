"""Publishes campaigns to the media bucket: content first, campaign.json last. Touches no database."""
