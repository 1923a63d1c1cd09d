"""The buckets of the portal, calls to them in threads while the caller renews its lease, and the time for deletions.

Only `deletion_time` touches the database: it reads its clock.
"""
