"""Leases of rows, and those of jobs: one worker at a time does a piece of work, for as long as it renews the lease.

The lease of a job is a row of `Job`, claimed by a conditional update, so any number of processes may try. `fence`
grows with each claim: a worker whose lease expired and was claimed by another notices before it commits.
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
from typing import Any, Final, NoReturn

from django.db import models
from django.db.models import F
from django.utils import timezone

from ifeportal.models import CLOCK_JUMP, Job, JobQuerySet
from ifeportal.work_lease import LeaseLost

LEASE_SECONDS: Final = 12.0  # after which another worker may take over from one that died


def holder_name() -> str:
    """Return a name for a claim: machine, process, and a random part, so that no two claims share one."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


@dataclass(slots=True)
class RowLease:
    """The right to do the work of one row, for `seconds` from the last renewal. `fence` grows with each claim.

    The row has the columns `holder`, `fence` and `lease_until`. Work that needs only the lease takes it as a
    `WorkLease`.
    """

    name: str
    holder: str
    fence: int
    seconds: float
    _renewed_at: float = field(default_factory=time.monotonic, kw_only=True)
    _is_held: bool = field(default=True, kw_only=True)

    def own_row(self) -> models.QuerySet[Any]:
        """Return the row while this claim of it is the last, else no row."""
        raise NotImplementedError

    def renew(self) -> None:
        """Extend the lease to `seconds` from now. Raises LeaseLost."""
        now = time.monotonic()
        self.check_fence()
        self._renewed_at = now

    def heartbeat(self) -> None:
        """Renew the lease once a third of its time has passed. Call it often. Raises LeaseLost."""
        if time.monotonic() - self._renewed_at > self.seconds / 3:
            self.renew()

    def check_fence(self, **columns: Any) -> None:
        """Make the open transaction depend on the lease. Call it in every transaction that writes. Raises LeaseLost.

        The update locks the row, so that no other worker can claim it before the commit. It also sets `columns`.
        """
        if not self.own_row().update(lease_until=self.end(), **columns):
            self.lose()

    def end(self) -> datetime:
        """Return the end of a lease that is renewed now."""
        return timezone.now() + timedelta(seconds=self.seconds)

    def lose(self) -> NoReturn:
        """Raise LeaseLost, and release nothing later."""
        self._is_held = False
        raise LeaseLost(f"another worker has taken over {self.name}, or it was deleted")

    def release(self, **outcome: Any) -> bool:
        """Release the lease and write `outcome` into the row. False if another worker has claimed it."""
        if not self._is_held:
            return False
        self._is_held = False
        return bool(self.own_row().update(holder="", lease_until=None, **outcome))


@dataclass(slots=True)
class Lease(RowLease):
    """The lease of a job.

    Read when the lease was claimed: `failures` in a row; `succeeded_at`; `steady_since`, since when the work has
    succeeded without a gap (None: it has not); `found_at`, when it last found something new; `is_viewed`, whether a
    page shows its results; `due_at`. Set by the work: `found_changes`, and `next_run_in`, the seconds from this run to
    the next.
    """

    started_at: datetime
    due_at: datetime | None = None
    failures: int = 0
    succeeded_at: datetime | None = None
    steady_since: datetime | None = None
    found_at: datetime | None = None
    is_viewed: bool = False
    found_changes: bool = False
    next_run_in: float | None = None

    def own_row(self) -> JobQuerySet:
        return Job.objects.filter(name=self.name, holder=self.holder, fence=self.fence)


@contextmanager
def lease(name: str, seconds: float = LEASE_SECONDS, *, due_by: datetime | None = None) -> Iterator[Lease | None]:
    """Claim the job `name` and yield its lease; None if another worker has it, or it is not due by `due_by`."""
    claimed = _claim(name, seconds, due_by)
    try:
        yield claimed
    finally:
        if claimed is not None:
            claimed.release()


def _claim(name: str, seconds: float, due_by: datetime | None) -> Lease | None:
    now = timezone.now()
    holder = holder_name()
    free = Job.objects.free(now).filter(name=name)
    if due_by is not None:
        free = free.due_by(due_by, now)
    claim = {"holder": holder, "lease_until": now + timedelta(seconds=seconds), "started_at": now}
    if not free.update(fence=F("fence") + 1, **claim):
        _, created = Job.objects.get_or_create(name=name, defaults={"due_at": now})
        if not created or not free.update(fence=F("fence") + 1, **claim):
            return None
    row = Job.objects.filter(name=name, holder=holder).first()
    if row is None:  # deleted, or its lease so short that another worker has claimed it
        return None
    return Lease(
        name,
        holder,
        row.fence,
        seconds,
        started_at=now,
        due_at=row.due_at,
        failures=row.failures,
        succeeded_at=row.succeeded_at,
        steady_since=row.steady_since,
        found_at=row.found_at,
        is_viewed=row.watched_until is not None and now < row.watched_until <= now + CLOCK_JUMP,
    )
