"""Periodic work: who may do it now, when it is due again, and how it reaches a worker.

The only module that knows django-q2. A job is a row of `Job`; it is claimed by a conditional update, so that any number
of workers and pacemakers may try. django-q2 only carries names from the pacemaker to a worker: what is due, how often
something failed and when it is tried again stands in our rows. Every job may run twice.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Min, Q
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.brokers import get_broker
from django_q.tasks import async_task

from ifeportal.models import Airline, Job

LEASE_SECONDS: Final = 15.0  # after which another may take over from a holder that has died
LOST_AFTER: Final = timedelta(seconds=10)  # then a queued job nobody started may have been lost with its worker
EARLY: Final = timedelta(milliseconds=50)  # clocks of two machines may differ by that without a job being put off
LONGEST_PAUSE: Final = 60.0  # seconds between two attempts of a job that keeps failing, unless its interval is longer
ERROR_LIMIT: Final = 2_000  # characters
T = TypeVar("T")
logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Somebody else holds the lease by now: stop, what comes is theirs."""


class JobFailed(Exception):
    """Work that did what it could; `str()` says what it could not. Logged in a line, without a traceback."""


@dataclass(slots=True)
class Lease:
    """The right to do a piece of work, for `seconds` from the last renewal. `fence` grows with each holder."""

    name: str
    holder: str
    fence: int
    seconds: float
    _renewed: float = field(default_factory=time.monotonic)
    _held: bool = True

    def renew(self) -> None:
        """Hold it for `seconds` from now. Raises LeaseLost."""
        until = timezone.now() + timedelta(seconds=self.seconds)
        if not self._mine().update(lease_until=until):
            self._held = False
            raise LeaseLost(f"{self.name} is held by another worker")
        self._renewed = time.monotonic()

    def alive(self) -> None:
        """To be called often: renews it whenever a third of its time has passed. Raises LeaseLost."""
        if time.monotonic() - self._renewed > self.seconds / 3:
            self.renew()

    def release(self, **outcome: Any) -> None:
        """Give it back, and write `outcome` into the row, if it still is ours."""
        if self._held:
            self._held = False
            self._mine().update(holder="", lease_until=None, **outcome)

    def _mine(self) -> Any:
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
    free = Job.objects.filter(Q(lease_until=None) | Q(lease_until__lt=now), name=name)
    if due_by is not None:
        free = free.filter(due_at__lte=due_by)
    claim = {"holder": holder, "lease_until": now + timedelta(seconds=seconds), "started_at": now, "queued_at": None}
    if not free.update(fence=F("fence") + 1, **claim):
        _, made = Job.objects.get_or_create(name=name, defaults={"due_at": now})
        if not made or not free.update(fence=F("fence") + 1, **claim):
            return None
    return Lease(name, holder, Job.objects.values_list("fence", flat=True).get(name=name, holder=holder), seconds)


def run(name: str, interval: float, work: Callable[[Lease], T], *, when_due: bool = True) -> T | None:
    """Do `work` under the lease of the job, and write into its row how it went and when it is due again.

    None if another holds it, took it over meanwhile, or it is not due (unless `when_due` is false). `interval` is in
    seconds, from start to start. Raises what `work` raises, after writing it down.
    """
    due_by = timezone.now() + EARLY if when_due else None
    with lease(name, due_by=due_by) as held:
        if held is None:
            # The clock of whoever queued it may be ahead of ours: then it is to be queued again, not taken for queued.
            Job.objects.filter(name=name, holder="", due_at__gt=timezone.now()).update(queued_at=None)
            return None
        started = timezone.now()
        try:
            result = work(held)
        except LeaseLost as lost:
            logger.warning("stopped: %s", lost)
            return None
        except Exception as error:
            _failed(held, interval, error)
            raise
        now = timezone.now()
        due = started + timedelta(seconds=interval)
        held.release(finished_at=now, succeeded_at=now, failures=0, error="", due_at=due)
        return result


def _failed(held: Lease, interval: float, error: Exception) -> None:
    """Put the job off, twice as long with each failure in a row."""
    now = timezone.now()
    failures = (Job.objects.filter(name=held.name).values_list("failures", flat=True).first() or 0) + 1
    pause = min(interval * 2 ** min(failures, 16), max(LONGEST_PAUSE, interval))
    sentence = str(error) if isinstance(error, JobFailed) else f"{type(error).__name__}: {error}"
    held.release(
        finished_at=now,
        failures=failures,
        error=sentence.replace("\0", "")[:ERROR_LIMIT],
        due_at=now + timedelta(seconds=pause),
    )


def perform(path: str, *args: str) -> None:
    """What a worker runs: the function at `path`. Nothing comes out, as django-q2 would store every failure."""
    try:
        import_string(path)(*args)
    except JobFailed as error:
        logger.warning("%s(%s): %s", path, ", ".join(args), error)
    except Exception:
        logger.exception("%s(%s) failed", path, ", ".join(args))


def enqueue_due(now: datetime) -> int:
    """Queue every job that is due, free and not queued yet; how many. Makes rows for new jobs and airlines."""
    calls = _calls()
    _keep_rows(calls, now)
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    due = Job.objects.filter(free, due_at__lte=now, name__in=calls)
    names = list(due.filter(queued_at=None).order_by("due_at").values_list("name", "queued_at"))
    names += _lost(due, now)
    return sum(_enqueue(name, queued_at, calls[name], now) for name, queued_at in names)


def seconds_to_next(now: datetime) -> float | None:
    """Until the next job falls due; None if none will."""
    soonest = Job.objects.filter(due_at__gt=now).aggregate(at=Min("due_at"))["at"]
    return None if soonest is None else (soonest - now).total_seconds()


def _lost(due: Any, now: datetime) -> list[tuple[str, datetime]]:
    """Jobs that were queued and never started. Not while something waits in the queue: then it is the workers who are
    late or away, and another entry would only make the queue longer."""
    lost = list(due.filter(queued_at__lt=now - LOST_AFTER).values_list("name", "queued_at"))
    return [] if lost and get_broker().queue_size() else lost


def _enqueue(name: str, queued_at: datetime | None, call: tuple[str, ...], now: datetime) -> bool:
    """Queue one job if it is as it was read; the claim and the queue's row are one transaction."""
    with transaction.atomic():
        if not Job.objects.filter(name=name, queued_at=queued_at, due_at__lte=now).update(queued_at=now):
            return False
        async_task("ifeportal.jobs.perform", *call, task_name=name[:100])
    return True


def _calls() -> dict[str, tuple[str, ...]]:
    """What to call for each job there should be: the path of a function, and its arguments."""
    calls: dict[str, tuple[str, ...]] = {name: (path,) for name, path in settings.JOBS.items()}
    for airline in Airline.objects.order_by().values_list("name", flat=True):
        for prefix, path in settings.JOBS_PER_AIRLINE.items():
            calls[f"{prefix}:{airline}"] = (path, airline)
    return calls


def _keep_rows(calls: Mapping[str, tuple[str, ...]], now: datetime) -> None:
    rows = set(Job.objects.order_by().values_list("name", flat=True))
    new = [Job(name=name, due_at=now) for name in calls.keys() - rows]
    if new:
        Job.objects.bulk_create(new, ignore_conflicts=True)
    prefixes = tuple(f"{prefix}:" for prefix in settings.JOBS_PER_AIRLINE)
    old = [name for name in rows - calls.keys() if name.startswith(prefixes)]
    if old:
        Job.objects.filter(name__in=old).delete()
