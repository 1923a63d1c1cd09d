"""Periodic work: leases, the queue of due jobs, the runner, and the broker that wakes workers.

Touches rows of `Job` and django-q2's queue.
"""
