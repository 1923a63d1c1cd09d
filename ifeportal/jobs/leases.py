"""Leases of jobs: one worker at a time does a piece of work, for as long as it renews.

A lease is a row of `Job`, claimed by a conditional update, so any number of processes may try. `fence` grows with each
claim: a holder whose lease expired and was claimed again notices it before it commits.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import F
from django.utils import timezone

from ifeportal.models import Job, JobQuerySet
from ifeportal.work_lease import LeaseLost

LEASE_SECONDS: Final = 12.0  # after which another may take over from a holder that has died


@dataclass(slots=True)
class Lease:
    """The right to do a piece of work, for `seconds` from the last renewal. `fence` grows with each holder.

    Work that needs no more than the lease itself takes it as a `WorkLease`.

    As it was when claimed: `failures` in a row; `succeeded_at`; `steady_since`, from when on the work has succeeded
    again and again (None: never yet, or not for long); `found_at`, when it last found something new; `is_viewed`,
    whether a page shows what it finds. For the work to set: `found_changes`, and `next_run_in`, the seconds from the
    start of this run to the next.
    """

    name: str
    holder: str
    fence: int
    seconds: float
    started_at: datetime
    failures: int = 0
    succeeded_at: datetime | None = None
    steady_since: datetime | None = None
    found_at: datetime | None = None
    is_viewed: bool = False
    found_changes: bool = False
    next_run_in: float | None = None
    _renewed_at: float = field(default_factory=time.monotonic)
    _is_held: bool = True

    def renew(self) -> None:
        """Hold it for `seconds` from now. Raises LeaseLost."""
        now = time.monotonic()
        self.check_fence()
        self._renewed_at = now

    def heartbeat(self) -> None:
        """To be called often: renews it whenever a third of its time has passed. Raises LeaseLost."""
        if time.monotonic() - self._renewed_at > self.seconds / 3:
            self.renew()

    def check_fence(self) -> None:
        """To be called in the transaction that writes: it commits only if the lease is ours, and until then nobody else
        can claim it, as its row is locked. Raises LeaseLost."""
        if not self._own_row().update(lease_until=timezone.now() + timedelta(seconds=self.seconds)):
            self._is_held = False
            raise LeaseLost(f"{self.name} is held by another worker")

    def release(self, **outcome: Any) -> None:
        """Give it back, and write `outcome` into the row, if it still is ours."""
        if self._is_held:
            self._is_held = False
            self._own_row().update(holder="", lease_until=None, **outcome)

    def _own_row(self) -> JobQuerySet:
        return Job.objects.filter(name=self.name, holder=self.holder, fence=self.fence)


@contextmanager
def lease(name: str, seconds: float = LEASE_SECONDS, *, due_by: datetime | None = None) -> Iterator[Lease | None]:
    """Hold the job `name`, or None if somebody else does (or it is not due by `due_by`)."""
    held = _claim(name, seconds, due_by)
    try:
        yield held
    finally:
        if held is not None:
            held.release()


def _claim(name: str, seconds: float, due_by: datetime | None) -> Lease | None:
    now = timezone.now()
    holder = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    free = Job.objects.free(now).filter(name=name)
    if due_by is not None:
        free = free.filter(due_at__lte=due_by)
    claim = {"holder": holder, "lease_until": now + timedelta(seconds=seconds), "started_at": now}
    if not free.update(fence=F("fence") + 1, **claim):
        _, made = Job.objects.get_or_create(name=name, defaults={"due_at": now})
        if not made or not free.update(fence=F("fence") + 1, **claim):
            return None
    row = Job.objects.filter(name=name, holder=holder).first()
    if row is None:  # deleted, or its lease so short that it was taken again
        return None
    return Lease(
        name,
        holder,
        row.fence,
        seconds,
        started_at=now,
        failures=row.failures,
        succeeded_at=row.succeeded_at,
        steady_since=row.steady_since,
        found_at=row.found_at,
        is_viewed=row.watched_until is not None and row.watched_until > now,
    )
