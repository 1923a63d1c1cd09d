"""Wake-up messages for workers: django-q2 carries calls of the job runner through the database.

With the command `qcluster` the only code that knows django-q2. All messages are alike, so losing one does no harm: the
pacemaker compares several times a second the number of queued messages with the number of due jobs.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any, Final

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Min
from django_q.brokers import get_broker
from django_q.brokers.orm import ORM
from django_q.tasks import async_task

from ifeportal.jobs.queue import callable_jobs

WAKEUP_LIMIT: Final = 64  # calls; a worker that takes one does all that is due, so that more would find nothing to do
RETRY_DELAY: Final = 1.0  # seconds until the queue is asked again after the database was away
logger = logging.getLogger(__name__)


def wake_workers(now: datetime) -> int:
    """See that a call waits for each job that is due and free, up to a bound; how many were added."""
    due = callable_jobs().due(now)[:WAKEUP_LIMIT].count()
    missing = due - queued_wakeups() if due else 0
    if missing > 0:
        with transaction.atomic():
            for _ in range(missing):
                async_task("ifeportal.jobs.runner.run_due_jobs", task_name="wake")
    return max(missing, 0)


def queued_wakeups() -> int:
    """How many calls wait for a worker."""
    size: int = get_broker().queue_size()
    return size


def seconds_to_next(now: datetime) -> float | None:
    """Until the next job falls due; None if none will."""
    soonest = callable_jobs().filter(due_at__gt=now).aggregate(at=Min("due_at"))["at"]
    return None if soonest is None else (soonest - now).total_seconds()


class ResilientBroker(ORM):  # type: ignore[misc]  # django-q2 has no annotations
    """django-q2's own, but for a database that is away: its processes would end with a traceback, again and again."""

    def dequeue(self) -> Any:
        """What waits, or nothing."""
        try:
            return super().dequeue()
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is away, workers wait: %s", error)
            time.sleep(RETRY_DELAY)
            return None

    def delete(self, task_id: object) -> None:
        """Forget a call that was answered; one that cannot be forgotten now comes again, which does no harm."""
        try:
            super().delete(task_id)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is away, a call to wake up stays: %s", error)
