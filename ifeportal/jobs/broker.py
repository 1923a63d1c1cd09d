"""Wake-up messages for workers: django-q2 carries calls of `run_due_work` through the database.

Apart from the command `qcluster` this is the only code that knows django-q2. All messages are alike, so losing one does
no harm: several times a second the pacemaker compares the number of queued messages with the number of due jobs and of
other due work.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Min
from django_q.brokers import get_broker
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import Failure, OrmQ
from django_q.tasks import async_task

from ifeportal.jobs.queue import callable_jobs
from ifeportal.jobs.sources import registered_sources
from ifeportal.wakeups import JOBS, wait, wake

WAKEUP_LIMIT: Final = 64  # messages; a worker that takes one does every due job, so more would find nothing to do
FAILURES_KEPT_FOR: Final = timedelta(days=30)
FAILURES_KEPT: Final = 1000  # rows
QUEUE_TICK: Final = 0.2  # seconds between two looks at an empty queue, unless a message wakes the worker before
RETRY_DELAY: Final = 1.0  # seconds between two reads of the queue while the database is unavailable
logger = logging.getLogger(__name__)


def wake_workers(now: datetime) -> int:
    """Queue a message for each worker that due work needs, up to WAKEUP_LIMIT. Return how many were added."""
    due = count_due(now)
    missing = due - queued_wakeups() if due else 0
    if missing > 0:
        with transaction.atomic():
            _add_messages(missing)
    return max(missing, 0)


def request_worker() -> None:
    """Queue a message, because work has become due. Call it in a transaction, whose commit wakes a worker."""
    if queued_wakeups() < WAKEUP_LIMIT:
        _add_messages(1)


def _add_messages(number: int) -> None:
    for _ in range(number):
        async_task("ifeportal.jobs.workers.run_due_work", task_name="wake")
    wake(JOBS)


def count_due(now: datetime) -> int:
    """Return how many workers could start work now, for jobs and for other work; at most WAKEUP_LIMIT."""
    due = callable_jobs().due(now)[:WAKEUP_LIMIT].count()
    for source in registered_sources():
        due += source.count_due(now, WAKEUP_LIMIT - due) if due < WAKEUP_LIMIT else 0
    return due


def queued_wakeups() -> int:
    """Return how many messages wait for a worker."""
    size: int = get_broker().queue_size()
    return size


def delete_old_failures(now: datetime) -> int:
    """Delete messages whose handling failed long ago, and all but the newest FAILURES_KEPT. Return how many."""
    cut = now - FAILURES_KEPT_FOR
    newest = Failure.objects.order_by("-stopped").values_list("stopped", flat=True)
    for beyond in newest[FAILURES_KEPT : FAILURES_KEPT + 1]:
        cut = max(cut, beyond)
    deleted, _ = Failure.objects.filter(stopped__lte=cut).delete()
    return int(deleted)


def seconds_to_next(now: datetime) -> float | None:
    """Return the seconds until the next job or other work is due; None if nothing has a time in the future."""
    soonest = callable_jobs().filter(due_at__gt=now).aggregate(at=Min("due_at"))["at"]
    times = [None if soonest is None else (soonest - now).total_seconds()]
    times += [source.seconds_to_next(now) for source in registered_sources()]
    return min((time for time in times if time is not None), default=None)


class ResilientBroker(ORM):  # type: ignore[misc]  # django-q2 has no annotations
    """django-q2's broker, made to outlast an unavailable database, which would end its processes again and again.

    It keeps its connection, on which it is woken, where django-q2's opens one for every look at the queue.
    """

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Return the rows of the queue."""
        return OrmQ.objects.using(Conf.ORM)

    def dequeue(self) -> Any:
        try:
            found = super().dequeue()
            if not found:
                wait(JOBS, QUEUE_TICK)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is not responding, workers wait: %s", error)
            connection.close()
            time.sleep(RETRY_DELAY)
            return None
        return found

    def delete(self, task_id: object) -> None:
        """Delete a message that was handled. One that cannot be deleted is delivered again, which does no harm."""
        try:
            super().delete(task_id)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is not responding, a handled message stays queued: %s", error)
            connection.close()
