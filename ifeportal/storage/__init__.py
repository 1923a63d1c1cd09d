"""The buckets of the portal, and calls to them in threads while the caller renews its lease. Touches no database."""
