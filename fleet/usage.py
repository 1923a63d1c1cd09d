"""Requests to the buckets: counting them, by airline and day, and their price.

`RequestMeter` counts the requests of some buckets. Jobs record the counts in the process; once a minute they are added
to the rows of `Usage`, by any number of processes. Counts recorded after that are lost if the process is killed.
Touches its own table only.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from multiprocessing.util import Finalize
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from fleet.models import Usage
from ifeportal.models import Airline
from loader.s3.interface import Bucket

# USD per request: list price of S3 Standard in us-east-1, https://aws.amazon.com/s3/pricing/. DELETE is free, as is
# transfer within the region. Storage and transfer out of the region are not counted here.
PRICES: Final = {
    "list_requests": Decimal("0.000005"),
    "get_requests": Decimal("0.0000004"),
    "put_requests": Decimal("0.000005"),
    "delete_requests": Decimal(0),
}
COUNT_FIELDS: Final = (*PRICES, "bytes_received")
BETWEEN_FLUSHES: Final = timedelta(minutes=1)
logger = logging.getLogger(__name__)


def price(counts: dict[str, int]) -> Decimal:
    """Return the price in USD of these numbers of requests, at the list price."""
    return sum((PRICES[kind] * counts[kind] for kind in PRICES), Decimal(0))


def totals(rows: QuerySet[Usage]) -> dict[str, int]:
    """Return the sums of the rows, by the names of `COUNT_FIELDS`."""
    found = rows.order_by().aggregate(**_sums())
    return {name: found[f"sum_{name}"] or 0 for name in COUNT_FIELDS}


def by_airline() -> dict[str, dict[str, int]]:
    """Return the sums of all days by the airline's name; "" for the requests of airline discovery."""
    rows: Iterable[Any] = Usage.objects.order_by().values("airline__name").annotate(**_sums())
    return {row["airline__name"] or "": {name: row[f"sum_{name}"] for name in COUNT_FIELDS} for row in rows}


def _sums() -> dict[str, Sum]:
    return {f"sum_{name}": Sum(name) for name in COUNT_FIELDS}


class UsageRecorder:
    """The counts that one process has recorded and not written yet. Thread-safe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard all counts: in a forked process they belong to the parent."""
        self._lock = threading.Lock()
        self._open: dict[int | None, Counter[str]] = {}
        self._flushed_at: datetime | None = None
        self._registered = False

    def record(self, airline_id: int | None, counts: RequestCounts) -> None:
        """Add the counts of a poll of the airline; None for airline discovery."""
        more = Counter({name: getattr(counts, name) for name in COUNT_FIELDS})
        with self._lock:
            self._open.setdefault(airline_id, Counter()).update(more)
            if not self._registered and multiprocessing.parent_process() is not None:
                # A pool worker that exits in order writes its last counts; commands call `flush` themselves.
                self._registered = True
                Finalize(None, lambda: self.flush(timezone.now(), at_once=True), exitpriority=10)

    def flush(self, now: datetime, *, at_once: bool = False) -> None:
        """Add the recorded counts to the rows of the day of `now`, at most once a minute unless `at_once`.

        Counts that cannot be written are retried the next time: counting must not delay a poll.
        """
        with self._lock:
            early = self._flushed_at is not None and timedelta() <= now - self._flushed_at < BETWEEN_FLUSHES
            if early and not at_once:
                return
            self._flushed_at = now
            counts_by_airline, self._open = self._open, {}
        try:
            _write(counts_by_airline, now.astimezone(UTC).date())
        except DatabaseTrouble as error:
            logger.warning("failed to write request counts, retrying later: %s", error)
            with self._lock:
                for airline_id, counts in counts_by_airline.items():
                    self._open.setdefault(airline_id, Counter()).update(counts)


def _write(counts_by_airline: dict[int | None, Counter[str]], day: date) -> None:
    """Add to the rows, always in the same order, so that two processes cannot deadlock."""
    non_empty = {airline_id: counts for airline_id, counts in counts_by_airline.items() if any(counts.values())}
    if not non_empty:
        return
    with transaction.atomic():
        existing = set(
            Airline.objects.filter(pk__in=[pk for pk in non_empty if pk is not None]).values_list("pk", flat=True)
        )
        for airline_id in sorted(non_empty, key=lambda pk: pk or 0):
            if airline_id is None or airline_id in existing:
                _add(airline_id, day, non_empty[airline_id])


def _add(airline_id: int | None, day: date, counts: Counter[str]) -> None:
    row = Usage.objects.filter(airline=airline_id, day=day)
    more = {name: F(name) + counts[name] for name in COUNT_FIELDS}
    if not row.update(**more):
        # If another process inserts the row at the same time, this insert waits for it and then does nothing.
        Usage.objects.bulk_create([Usage(airline_id=airline_id, day=day)], ignore_conflicts=True)
        row.update(**more)


_recorder = UsageRecorder()
record, flush = _recorder.record, _recorder.flush  # of this process
os.register_at_fork(after_in_child=_recorder.reset)


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests sent to the buckets, bytes of the responses, and the seconds over which they were counted."""

    list_requests: int = 0
    get_requests: int = 0
    put_requests: int = 0
    delete_requests: int = 0
    bytes_received: int = 0
    seconds: float = 0.0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(RequestCounts)))


class RequestMeter:
    """Requests sent to some buckets, bytes of the responses, and time, since the meter was created."""

    def __init__(self, *buckets: Bucket) -> None:
        self._buckets = buckets
        self._before = self._sent()
        self._started = time.monotonic()

    def read(self) -> RequestCounts:
        """Return the counts so far."""
        lists, gets, puts, deletes, received = (
            now - before for now, before in zip(self._sent(), self._before, strict=True)
        )
        return RequestCounts(
            list_requests=lists,
            get_requests=gets,
            put_requests=puts,
            delete_requests=deletes,
            bytes_received=received,
            seconds=time.monotonic() - self._started,
        )

    def _sent(self) -> list[int]:
        names = ("list", "get", "put", "delete", "received")
        return [sum(getattr(each.requests, name) for each in self._buckets) for name in names]
