"""Sums over loads, for tails, campaigns and airlines: one query for any number of rows.

May touch the database only by annotating query sets. Loads that were deleted are left out. Bytes and items are
summed over the loads whose total is known, so that done, total and `percent` fit each other; `loads_unknown` says how
many are not in these sums. Without any known load total and percent are None and `bytes_done` is that of them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db.models import Count, F, Max, Model, Q, QuerySet, Sum

from campaigns.models import Campaign
from fleet.models import Status, Tail
from ifeportal.models import Airline

M = TypeVar("M", bound=Model)
PREFIX: Final = "sum_"
HIGH, LOW = "_high", "_low"
HALF: Final = 2**31


@dataclass(frozen=True, slots=True)
class Rollup:
    """Sums of loads. Bytes and counts; `as_of` is the newest object any of them rests on. `stalled` counts loads."""

    tails: int
    loads: int
    loads_unknown: int
    pending: int
    loading: int
    complete: int
    failed: int
    stalled: int
    items_total: int | None
    items_done: int
    items_failed: int
    bytes_done: int
    bytes_total: int | None
    as_of: datetime | None

    @property
    def status(self) -> str:
        """The word that matters most: failed before loading before pending before complete."""
        for status in (Status.FAILED, Status.LOADING, Status.PENDING, Status.COMPLETE):
            if getattr(self, status.value):
                return status.value
        return Status.PENDING.value

    @property
    def percent(self) -> int | None:
        """Whole percent, rounded down so that 100 means every byte; None while no total is known."""
        if self.bytes_total is None:
            return None
        if self.bytes_total == 0:
            return 100 if self.complete == self.loads - self.loads_unknown else 0
        return self.bytes_done * 100 // self.bytes_total


def airlines(rows: QuerySet[Airline]) -> QuerySet[Airline]:
    """The airlines with the sums of all their loads."""
    return _annotated(rows, "tails__loads__", tails=Count("tails", distinct=True))


def campaigns(rows: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """The campaigns with the sums of their loads on all tails."""
    return _annotated(rows.select_related("airline"), "loads__", tails=Count("loads__tail", distinct=True))


def tails(rows: QuerySet[Tail]) -> QuerySet[Tail]:
    """The tails with the sums of all their loads."""
    return _annotated(rows.select_related("airline"), "loads__", tails=Count("pk", distinct=True))


def rollup_of(row: Model) -> Rollup:
    """The sums a query set above put on the row. Raises AttributeError for a row from elsewhere."""
    found = {name.removeprefix(PREFIX): value for name, value in vars(row).items() if name.startswith(PREFIX)}
    if not found:
        raise AttributeError(f"{row!r} has no sums: take it from fleet.rollup")
    for name in ("bytes_done", "bytes_held", "bytes_total"):
        found[name] = joined(found.pop(name + HIGH), found.pop(name + LOW))
    held = found.pop("bytes_held")
    if found["bytes_total"] is None:
        found["bytes_done"] = held
    return Rollup(**found)


def halves(name: str, path: str, condition: Q | None = None, default: int | None = None) -> dict[str, Sum]:
    """Two sums that `joined` puts together: what strangers report may add up to more than 64 bits; SQLite refuses."""
    high, low = F(path) / HALF, F(path) % HALF
    return {
        name + HIGH: Sum(high, filter=condition, default=default),
        name + LOW: Sum(low, filter=condition, default=default),
    }


def joined(high: int | None, low: int | None) -> int | None:
    """The sum whose halves these are."""
    return None if high is None or low is None else high * HALF + low


def _annotated(rows: QuerySet[M], path: str, *, tails: Count) -> QuerySet[M]:
    there = ~Q(**{f"{path}status": Status.DELETED}) & Q(**{f"{path}pk__isnull": False})
    known = there & Q(**{f"{path}bytes_total__isnull": False})

    def how_many(condition: Q) -> Count:
        return Count(f"{path}pk", filter=condition)

    sums: dict[str, Any] = {
        "tails": tails,
        "loads": how_many(there),
        "loads_unknown": how_many(there & Q(**{f"{path}bytes_total__isnull": True})),
        "stalled": how_many(there & Q(**{f"{path}stalled": True})),
        "items_total": Sum(f"{path}items_total", filter=known),
        "items_done": Sum(f"{path}items_done", filter=known, default=0),
        "items_failed": Sum(f"{path}items_failed", filter=there, default=0),
        "as_of": Max(f"{path}as_of"),
        **halves("bytes_done", f"{path}bytes_done", known, default=0),
        **halves("bytes_held", f"{path}bytes_done", there, default=0),
        **halves("bytes_total", f"{path}bytes_total", known),
    }
    for status in (Status.PENDING, Status.LOADING, Status.COMPLETE, Status.FAILED):
        sums[status.value] = how_many(Q(**{f"{path}status": status}))
    annotated: QuerySet[M] = rows.annotate(**{PREFIX + name: expression for name, expression in sums.items()})
    return annotated
