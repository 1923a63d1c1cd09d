"""Lease of an operation: the right of one worker to do one slice. Touches rows of `Operation`."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Q

from ifeportal.jobs.leases import LEASE_SECONDS, RowLease, holder_name
from ifeportal.operations.models import Lane, Operation, OperationQuerySet


class OperationLease(RowLease):
    """The lease of an operation. `cancelled`: a renewal found that someone has cancelled it."""

    __slots__ = ("is_cancelled", "pk")

    def __init__(self, operation: Operation) -> None:
        super().__init__(str(operation), operation.holder, operation.fence, LEASE_SECONDS)
        self.pk = operation.pk
        self.is_cancelled = operation.cancel_requested_at is not None

    def own_row(self) -> OperationQuerySet:
        return Operation.objects.open().filter(pk=self.pk, holder=self.holder, fence=self.fence)

    def check_fence(self, **columns: Any) -> None:
        """As for other leases; also notes whether someone has cancelled the operation. Raises LeaseLost."""
        uncancelled = self.own_row().filter(cancel_requested_at=None)
        if not uncancelled.update(lease_until=self.end(), **columns):
            RowLease.check_fence(self, **columns)
            self.is_cancelled = True


def claim(row: Operation, now: datetime) -> OperationLease | None:
    """Claim an operation and count an attempt, so that one counts whose worker dies. None if it is no longer free.

    Call it in a transaction that has locked the queue. Updates `row`.
    """
    row.holder = f"{cluster_name()}{holder_name()}"
    claimable = Operation.objects.claimable(now).filter(pk=row.pk, fence=row.fence)
    is_expired = row.cancel_requested_at is None and row.expires_at is not None and row.expires_at <= now
    columns = {"cancel_requested_at": now, "next_try_at": now} if is_expired else {}
    attempts = 1 if is_expired else row.attempts + 1
    lease_until = now + timedelta(seconds=LEASE_SECONDS)
    claimed = {"fence": F("fence") + 1, "holder": row.holder, "lease_until": lease_until, "woken": False}
    claimed["attempts"] = attempts
    if not claimable.update(**{**claimed, **columns}):
        return None
    row.fence += 1
    row.lease_until = lease_until
    row.attempts = attempts
    for name, value in columns.items():
        setattr(row, name, value)
    return OperationLease(row)


def slices_here(now: datetime) -> tuple[int, int]:
    """Return how many slices the workers of this qcluster do now, in all and of background operations."""
    here = Operation.objects.leased(now).filter(holder__startswith=cluster_name())
    counted = here.aggregate(every=Count("pk"), background=Count("pk", Q(lane__gte=Lane.BACKGROUND)))
    return counted["every"], counted["background"]


def slice_limit() -> int:
    """Return how many slices the workers of a qcluster do at once: one worker is left to periodic jobs."""
    return settings.OPERATION_SLICES


def background_limit() -> int:
    """Return how many of these slices background operations may do: one is left to others, if there is more than one.

    Otherwise, an upload that has just arrived would wait until hashing ends its slices.
    """
    return max(1, slice_limit() - 1)


def cluster_name() -> str:
    """Return what holders in this qcluster begin with: the machine and the parent process of the workers."""
    return f"{socket.gethostname()[:60]}:{os.getppid()}/"
