"""Run jobs: take the most urgent one that is due, do its work under a lease, record the outcome and the next due time.

A woken worker (`ifeportal.jobs.broker`) takes one due job after another, so a wake-up that is lost, repeated or late
costs nothing. Every job may run twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Case, F, Value, When
from django.utils import timezone
from django.utils.module_loading import import_string

from ifeportal.jobs.leases import Lease, lease
from ifeportal.jobs.queue import most_urgent, resolve
from ifeportal.models import Job
from ifeportal.work_lease import LeaseLost
from loader.s3 import retry

CLOCK_TOLERANCE: Final = timedelta(
    milliseconds=50
)  # clocks of two machines may differ by that without a job being put off
MAX_RETRY_DELAY: Final = 60.0  # seconds between two attempts of a job that keeps failing, unless its interval is longer
ERROR_LIMIT: Final = 2_000  # characters
TIME_SLICE: Final = (
    3.0  # seconds after which a worker begins no further job: other work gets its turn, and a stop is soon
)
MAX_GAP: Final = 180.0  # seconds without a success after which a job is not steady any more
T = TypeVar("T")
logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """Work that did what it could; `str()` says what it could not. Logged in a line, without a traceback."""


def run(name: str, interval: float, work: Callable[[Lease], T], *, when_due: bool = True) -> T | None:
    """Do `work` under the lease of the job, and write into its row how it went and when it is due again.

    None if another holds it, took it over meanwhile, or it is not due (unless `when_due` is false). `interval` is in
    seconds, from start to start, and holds unless the work sets `next_run_in`, or a page was opened meanwhile. Raises
    what `work` raises, after writing it down.
    """
    due_by = timezone.now() + CLOCK_TOLERANCE if when_due else None
    with lease(name, due_by=due_by) as held:
        if held is None:
            return None
        if _is_after_gap(held.succeeded_at, held.started_at):
            held.steady_since = None
        try:
            result = work(held)
        except LeaseLost as lost:
            logger.warning("stopped: %s", lost)
            return None
        except Exception as error:
            _record_failure(held, interval, error)
            raise
        _record_success(held, interval)
        return result


def _is_after_gap(succeeded_at: datetime | None, now: datetime) -> bool:
    if succeeded_at is None:
        return True
    return (now - succeeded_at).total_seconds() > max(MAX_GAP, 3 * settings.POLL_CEILING)


def _record_success(held: Lease, interval: float) -> None:
    now = timezone.now()
    soon = max(held.started_at + timedelta(seconds=interval), now)
    due: Any = soon
    if held.next_run_in is not None:
        due = max(held.started_at + timedelta(seconds=held.next_run_in), now)
        if not held.is_viewed:  # as far as this run knew
            due = Case(When(watched_until__gt=now, then=Value(min(soon, due))), default=Value(due))
    outcome: dict[str, Any] = {"found_at": now} if held.found_changes else {}
    held.release(
        finished_at=now,
        succeeded_at=now,
        failures=0,
        error="",
        due_at=due,
        steady_since=held.steady_since or now,
        **outcome,
    )


def _record_failure(held: Lease, interval: float, error: Exception) -> None:
    """Put the job off, twice as long with each failure in a row."""
    failures = held.failures + 1
    pause = retry.delay(failures, 2 * interval, max(MAX_RETRY_DELAY, interval))
    now = timezone.now()
    held.release(finished_at=now, failures=failures, error=_error_text(error), due_at=now + timedelta(seconds=pause))


def _error_text(error: Exception) -> str:
    text = str(error) if isinstance(error, JobFailed) else f"{type(error).__name__}: {error}"
    return text.replace("\0", "")[:ERROR_LIMIT]


def run_due_jobs() -> None:
    """What a worker does when it is woken: the most urgent job that is due, then the next, until none is due or its
    turn is over. Nothing comes out but the end of the worker itself.

    A connection to the database that breaks ends the turn; django-q2 closes it before the next.
    """
    end = time.monotonic() + TIME_SLICE
    try:
        while (job := most_urgent()) is not None:
            _perform(job)
            if time.monotonic() >= end:
                break
    except (OperationalError, InterfaceError) as error:
        logger.warning("the database is away, jobs wait: %s", error)


def _perform(job: Job) -> None:
    """Do the job, unless another was faster. What fails is logged, and stops no other job."""
    failure: Exception | None = None
    try:
        path, *arguments = resolve(job.name)
        import_string(path)(*arguments)
    except (JobFailed, OperationalError, InterfaceError) as error:
        logger.warning("%s: %s", job.name, error)
        failure = error
    except Exception as error:
        logger.exception("%s failed", job.name)
        failure = error
    _defer(job, failure)


def _defer(job: Job, failure: Exception | None) -> None:
    """A job that nobody claimed (its airline is gone, or it failed before) is not to be met again at once."""
    now = timezone.now()
    reason = _error_text(failure) if failure else "Nothing was done: there is nothing of that name."
    untouched = Job.objects.due(now).filter(pk=job.pk, fence=job.fence, due_at=job.due_at)
    untouched.update(
        due_at=now + timedelta(seconds=MAX_RETRY_DELAY), failures=F("failures") + 1, error=reason, finished_at=now
    )


def uninterrupted_since(held: Lease) -> datetime | None:
    """Since when this job and all its parts have succeeded again and again; None: one of them has not."""
    since = [held.steady_since]
    for row in Job.objects.filter(name__startswith=f"{held.name}/").only("steady_since", "succeeded_at"):
        since.append(None if _is_after_gap(row.succeeded_at, held.started_at) else row.steady_since)
    found = [each for each in since if each is not None]
    return max(found) if len(found) == len(since) else None
