"""The buckets and the SQS queue of the portal, and calls to them in threads that keep a lease alive.

Touches no database.
"""
