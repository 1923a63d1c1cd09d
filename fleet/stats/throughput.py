"""Bytes received by the aircraft of an airline: a row per airline and five minutes.

`add_received` is part of a writer's transaction, one statement for a whole batch; the database adds, so that concurrent
writers lose nothing. Queries are for airlines that the caller has reached by `visible_to`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connection

from fleet.models import ThroughputInterval
from fleet.stats import rollup
from ifeportal.bulk import json_rows
from ifeportal.models import Airline
from loader.contract.item_reports import COUNT_LIMIT

INTERVAL: Final = timedelta(minutes=5)
RETENTION: Final = timedelta(days=400)
MINIMUM_SPAN: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)


def interval_start(moment: datetime) -> datetime:
    """Return the start of the five minutes that contain `moment`."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute - moment.minute % 5, second=0, microsecond=0)


def add_received(airline: Airline, number: int, now: datetime) -> None:
    """Add `number` bytes to the current interval. A sum above `COUNT_LIMIT` is stored as that."""
    if number <= 0:
        return
    rows, text = json_rows(
        ThroughputInterval, ["airline_id", "at", "bytes"], [(airline.pk, interval_start(now), min(number, COUNT_LIMIT))]
    )
    table = connection.ops.quote_name(ThroughputInterval._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (airline_id, at, bytes) {rows} WHERE true "
            f"ON CONFLICT (airline_id, at) DO UPDATE SET bytes = CASE WHEN {table}.bytes > %s - excluded.bytes "
            f"THEN %s ELSE {table}.bytes + excluded.bytes END",
            [text, COUNT_LIMIT, COUNT_LIMIT],
        )


def received_today(airlines: Collection[Airline], now: datetime) -> dict[int, int]:
    """Return the bytes of this day (UTC) by the id of each of the airlines; one query."""
    since = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    found = (
        ThroughputInterval.objects.filter(airline__in=airlines, at__gte=since, at__lte=now)
        .order_by()
        .values_list("airline")
        .annotate(**rollup.split_sum("bytes", "bytes"))
    )
    sums = {pk: rollup.join_sum(high, low) or 0 for pk, high, low in found}
    return {airline.pk: sums.get(airline.pk, 0) for airline in airlines}


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bytes of each interval of five minutes, oldest first, without a gap; the last one ends at `until`."""

    at: list[datetime]
    received: list[int]
    until: datetime

    @property
    def bytes(self) -> int:
        return sum(self.received)

    def rates(self) -> list[int | None]:
        """Return bytes per second of each interval; None while the last one has barely started."""
        spans = [min(INTERVAL, self.until - moment) for moment in self.at]
        return [
            number // int(span.total_seconds()) if span >= MINIMUM_SPAN else None
            for number, span in zip(self.received, spans, strict=True)
        ]


def throughput(airlines: Collection[int], now: datetime, span: timedelta = DAY) -> Throughput:
    """Return the bytes received by the aircraft of these airlines (ids) in the span up to now; one query."""
    first, last = interval_start(now - span), interval_start(now)
    found = (
        ThroughputInterval.objects.filter(airline__in=airlines, at__gte=first, at__lte=last)
        .order_by()
        .values_list("at")
        .annotate(**rollup.split_sum("bytes", "bytes"))
    )
    sums = {at: rollup.join_sum(high, low) or 0 for at, high, low in found}
    at = [first + INTERVAL * number for number in range((last - first) // INTERVAL + 1)]
    return Throughput(at, [sums.get(moment, 0) for moment in at], now)


def prune(now: datetime) -> int:
    """Delete rows older than `RETENTION`; return how many."""
    return ThroughputInterval.objects.filter(at__lt=now - RETENTION).delete()[0]
