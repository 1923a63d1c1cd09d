"""Requests to the buckets: counting them, by airline and day, and their price.

`RequestMeter` counts the requests of some buckets. Jobs record the counts in the process; once a minute they are added
to the rows of `Usage`, to which any number of processes may add. Counts recorded after that are lost if the process is
killed. Touches its own table only.
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

# USD a request: list price of S3 Standard in us-east-1, https://aws.amazon.com/s3/pricing/. DELETE is free, as are the
# bytes that go to the same region. What is stored, and bytes that leave the region, are not counted here.
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
    """USD for that many requests of each kind, at the list price."""
    return sum((PRICES[kind] * counts[kind] for kind in PRICES), Decimal(0))


def totals(rows: QuerySet[Usage]) -> dict[str, int]:
    """What the rows add up to, by the names of `COUNT_FIELDS`."""
    found = rows.order_by().aggregate(**_sums())
    return {name: found[f"sum_{name}"] or 0 for name in COUNT_FIELDS}


def by_airline() -> dict[str, dict[str, int]]:
    """The same of all days for each airline by its name; "" for the requests that look for airlines."""
    rows: Iterable[Any] = Usage.objects.order_by().values("airline__name").annotate(**_sums())
    return {row["airline__name"] or "": {name: row[f"sum_{name}"] for name in COUNT_FIELDS} for row in rows}


def _sums() -> dict[str, Sum]:
    return {f"sum_{name}": Sum(name) for name in COUNT_FIELDS}


class UsageRecorder:
    """What one process has noted and not written yet. For any number of threads."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as in a new process: what its parent noted is the parent's."""
        self._lock = threading.Lock()
        self._open: dict[int | None, Counter[str]] = {}
        self._flushed_at: datetime | None = None
        self._ending = False

    def record(self, airline_id: int | None, counts: RequestCounts) -> None:
        """Add the requests and bytes of a poll of the airline; None for those that look for airlines."""
        noted = Counter({name: getattr(counts, name) for name in COUNT_FIELDS})
        with self._lock:
            self._open.setdefault(airline_id, Counter()).update(noted)
            if not self._ending and multiprocessing.parent_process() is not None:
                # A worker of a process pool that ends in order; commands write their last by themselves.
                self._ending = True
                Finalize(None, lambda: self.flush(timezone.now(), at_once=True), exitpriority=10)

    def flush(self, now: datetime, *, at_once: bool = False) -> None:
        """Add what was noted to the rows of the day of `now`, unless that was done less than a minute ago.

        What cannot be written is kept for the next time: the books never hold up a poll.
        """
        with self._lock:
            early = self._flushed_at is not None and timedelta() <= now - self._flushed_at < BETWEEN_FLUSHES
            if early and not at_once:
                return
            self._flushed_at = now
            noted, self._open = self._open, {}
        try:
            _write(noted, now.astimezone(UTC).date())
        except DatabaseTrouble as error:
            logger.warning("the ledger of requests could not be written and is kept: %s", error)
            with self._lock:
                for airline_id, counts in noted.items():
                    self._open.setdefault(airline_id, Counter()).update(counts)


def _write(noted: dict[int | None, Counter[str]], day: date) -> None:
    """Add to the rows, always in the same order, so that two processes never wait for each other in a circle."""
    news = {airline_id: counts for airline_id, counts in noted.items() if any(counts.values())}
    if not news:
        return
    with transaction.atomic():
        there = set(Airline.objects.filter(pk__in=[pk for pk in news if pk is not None]).values_list("pk", flat=True))
        for airline_id in sorted(news, key=lambda pk: pk or 0):
            if airline_id is None or airline_id in there:
                _add(airline_id, day, news[airline_id])


def _add(airline_id: int | None, day: date, counts: Counter[str]) -> None:
    row = Usage.objects.filter(airline=airline_id, day=day)
    more = {name: F(name) + counts[name] for name in COUNT_FIELDS}
    if not row.update(**more):
        # Whoever else inserts the row at the same moment makes this insert wait, then skip.
        Usage.objects.bulk_create([Usage(airline_id=airline_id, day=day)], ignore_conflicts=True)
        row.update(**more)


_recorder = UsageRecorder()


def record(airline_id: int | None, counts: RequestCounts) -> None:
    """Add the requests and bytes of a poll of the airline; None for those that look for airlines."""
    _recorder.record(airline_id, counts)


def flush(now: datetime, *, at_once: bool = False) -> None:
    """Write what this process has noted, at most once a minute; `at_once` where a command ends. Raises nothing."""
    _recorder.flush(now, at_once=at_once)


os.register_at_fork(after_in_child=_recorder.reset)


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests sent to the buckets, bytes of their responses, and the seconds over which they were counted."""

    list_requests: int = 0
    get_requests: int = 0
    put_requests: int = 0
    delete_requests: int = 0
    bytes_received: int = 0
    seconds: float = 0.0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(RequestCounts)))


class RequestMeter:
    """Requests sent to some buckets, the bytes of their answers, and time, since it was made."""

    def __init__(self, *buckets: Bucket) -> None:
        self._buckets = buckets
        self._before = self._sent()
        self._started = time.monotonic()

    def read(self) -> RequestCounts:
        """The counts so far."""
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
