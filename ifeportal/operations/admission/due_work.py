"""Operations as a source of work for the workers: how much is due now, and when more is. Reads the database only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, IntegerField, Min, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from ifeportal.operations.admission.queue import PUBLISH_INTERVAL, QUEUE_ID
from ifeportal.operations.execution.leases import slice_limit
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationQueue, OperationState

ADMISSION_INTERVAL: Final = timedelta(seconds=1)  # at which the queue is looked at though nothing has ended
_STORED: Final = ("admitted_at", "published_at", "is_changed")
_ONE: Final = Value(1, IntegerField())


def has_due_work(now: datetime) -> bool:
    """Return whether a worker would find something to do, in one statement."""
    return count_due(now, 1) > 0


def count_due(now: datetime, limit: int) -> int:
    """Return how many workers could start work now, at most `limit`, in one statement.

    While as many slices run as one qcluster may do, one worker more is woken: another qcluster may have a free one.
    """
    kinds = list(registered_kinds())
    if limit <= 0 or not kinds:
        return 0
    known = Operation.objects.filter(kind__in=kinds).order_by()
    queue = OperationQueue.objects.filter(pk=QUEUE_ID).annotate(
        claimable=_number(known.claimable(now)),
        again=_number(known.due_again(now)),
        leased=_number(Operation.objects.leased(now)),
        first_queued=Subquery(known.in_queue().values("pk")[:1]),
    )
    row = queue.values(*_STORED, "claimable", "again", "leased", "first_queued").first()
    if row is None:  # before the first admission
        return int(known.open().exists())
    due = row["claimable"] + row["again"]
    due += row["first_queued"] is not None and _is_past(row["admitted_at"], ADMISSION_INTERVAL, now)
    due += row["is_changed"] and _is_past(row["published_at"], PUBLISH_INTERVAL, now)
    return int(min(due, limit, max(1, slice_limit() - row["leased"])))


def seconds_to_next(now: datetime) -> float | None:
    """Return the seconds until the wait of an operation is over; None if none waits."""
    waiting = Operation.objects.filter(state=OperationState.WAITING, next_try_at__gt=now)
    soonest = waiting.aggregate(at=Min("next_try_at"))["at"]
    return None if soonest is None else (soonest - now).total_seconds()


def _number(rows: QuerySet[Operation]) -> Coalesce:
    counted = rows.order_by().values(one=_ONE).annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def _is_past(time: datetime | None, interval: timedelta, now: datetime) -> bool:
    return time is None or not now - interval < time <= now
