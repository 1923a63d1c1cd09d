"""Run jobs: take the most urgent due job, do its work under a lease, record the outcome and the next due time.

A woken worker (`ifeportal.jobs.broker`) does one due job after another, so a message that is lost, repeated or late
does no harm. Every job may run twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Least
from django.utils import timezone
from django.utils.module_loading import import_string

from ifeportal.jobs.leases import Lease, lease
from ifeportal.jobs.queue import most_urgent, resolve
from ifeportal.models import CLOCK_JUMP, Job
from ifeportal.work_lease import LeaseLost
from loader.s3 import retry
from loader.s3.auth.redaction import redact

CLOCK_TOLERANCE: Final = timedelta(milliseconds=50)  # by which the clocks of two machines may differ
ON_TIME: Final = timedelta(seconds=1)  # after it was due, a run that starts counts as started in time
MAX_RETRY_DELAY: Final = 60.0  # seconds between two attempts of a failing job, unless its interval is longer
ERROR_LIMIT: Final = 2_000  # characters
TIME_SLICE: Final = 3.0  # seconds after which a worker starts no further job, so that it can stop or do other work
MAX_GAP: Final = 180.0  # seconds without a success after which a job is no longer steady
T = TypeVar("T")
logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The work is partly done; `str()` says what failed. Logged in one line, without a traceback."""


def run(name: str, interval: float, work: Callable[[Lease], T], *, when_due: bool = True) -> T | None:
    """Do `work` under the lease of the job; record the outcome and when the job is due again.

    Return None if another worker has the lease or took it over, or the job is not due (unless `when_due` is false).
    `interval` is in seconds, from the time a run was due to the next; the work may set another with `next_run_in`,
    which a page opened in the meantime shortens again. Raises what `work` raises, after recording it.
    """
    due_by = timezone.now() + CLOCK_TOLERANCE if when_due else None
    with lease(name, due_by=due_by) as claimed:
        if claimed is None:
            return None
        if _is_after_gap(claimed.succeeded_at, claimed.started_at):
            claimed.steady_since = None
        try:
            result = work(claimed)
        except LeaseLost as lost:
            logger.warning("stopped: %s", lost)
            return None
        except Exception as error:
            _record_failure(claimed, interval, error)
            raise
        _record_success(claimed, interval)
        return result


def _is_after_gap(succeeded_at: datetime | None, now: datetime) -> bool:
    if succeeded_at is None or succeeded_at > now + CLOCK_JUMP:
        return True
    return (now - succeeded_at).total_seconds() > max(MAX_GAP, 3 * settings.POLL_CEILING)


def _record_success(claimed: Lease, interval: float) -> None:
    now = timezone.now()
    since = _beginning(claimed)
    soon = max(since + timedelta(seconds=interval), now)
    due: Any = soon
    if claimed.next_run_in is not None:
        due = max(since + timedelta(seconds=claimed.next_run_in), now)
        if not claimed.is_viewed:  # when the lease was claimed; a page may have been opened since
            viewed = Q(watched_until__gt=now, watched_until__lte=now + CLOCK_JUMP)
            due = Case(When(viewed, then=Value(min(soon, due))), default=Value(due))
    outcome: dict[str, Any] = {"found_at": now} if claimed.found_changes else {}
    claimed.release(
        finished_at=now,
        succeeded_at=now,
        failures=0,
        error="",
        due_at=due,
        steady_since=claimed.steady_since or now,
        **outcome,
    )


def _beginning(claimed: Lease) -> datetime:
    """Return when the run was due, if it started on time: short delays of the start then do not add up."""
    due, started = claimed.due_at, claimed.started_at
    return due if due is not None and timedelta() <= started - due <= ON_TIME else started


def _record_failure(claimed: Lease, interval: float, error: Exception) -> None:
    """Postpone the job, twice as long with each failure in a row."""
    failures = claimed.failures + 1
    pause = retry.delay(failures, 2 * interval, max(MAX_RETRY_DELAY, interval))
    now = timezone.now()
    due = now + timedelta(seconds=pause)
    claimed.release(finished_at=now, failures=failures, error=_error_text(error), due_at=due)


def _error_text(error: Exception) -> str:
    text = str(error) if isinstance(error, JobFailed) else f"{type(error).__name__}: {error}"
    return redact(text).replace("\0", "")[:ERROR_LIMIT]


def run_due_jobs() -> None:
    """Do the most urgent due job, then the next, until none is due or TIME_SLICE is over. Raises nothing.

    A broken connection to the database ends the run; django-q2 closes the connection before the next.
    """
    end = time.monotonic() + TIME_SLICE
    try:
        while (job := most_urgent()) is not None:
            _perform(job)
            if time.monotonic() >= end:
                break
    except (OperationalError, InterfaceError) as error:
        logger.warning("the database is not responding, jobs wait: %s", error)


def _perform(job: Job) -> None:
    """Do the job, unless another worker has it. A failure is logged and does not stop other jobs."""
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
    """Postpone a job that was not claimed (its airline is gone, or it failed before that), so that it does not spin."""
    now = timezone.now()
    reason = _error_text(failure) if failure else "Nothing was done: the airline does not exist."
    unclaimed = Job.objects.due(now).filter(pk=job.pk, fence=job.fence, due_at=job.due_at)
    unclaimed.update(
        due_at=now + timedelta(seconds=MAX_RETRY_DELAY),
        started_at=Least("started_at", Value(now)),  # one in the future makes a job due
        failures=F("failures") + 1,
        error=reason,
        finished_at=now,
    )


def uninterrupted_since(claimed: Lease) -> datetime | None:
    """Return since when this job and all its parts have been steady; None if one of them is not."""
    since = [claimed.steady_since]
    for row in Job.objects.filter(name__startswith=f"{claimed.name}/").only("steady_since", "succeeded_at"):
        since.append(None if _is_after_gap(row.succeeded_at, claimed.started_at) else row.steady_since)
    steady = [each for each in since if each is not None]
    return max(steady) if len(steady) == len(since) else None
