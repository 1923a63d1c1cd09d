"""Totals over loads, for tails, campaigns and airlines: one query for any number of rows.

May touch the database only by annotating query sets. Loads that were deleted are left out, and so are those of tails
that are stored or retired (`tails_out` says how many); a tail's own sums are of all its loads. A load is counted under
exactly one state. Bytes and items are summed over the loads whose total is known, so that done, total and `percent` fit
each other; `loads_unknown` says how many are not in these sums. Without any known load total and percent are None and
`bytes_done` is that of them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db.models import Case, Count, F, Max, Model, Q, QuerySet, Sum, Value, When

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, State, Status
from fleet.models import Tail
from fleet.state.precedence import LOADING_STATES, in_state
from ifeportal.models import Airline

M = TypeVar("M", bound=Model)
PREFIX: Final = "sum_"
COUNTED_STATES: Final = tuple(state.value for state in State if state != State.DELETED)
HIGH, LOW = "_high", "_low"
HALF: Final = 2**31


@dataclass(frozen=True, slots=True)
class Rollup:
    """Sums of loads. Bytes and counts; `as_of` is the newest object any of them rests on.

    `tails` are those in service (of a campaign: that have begun it). `at_risk` counts loads, whatever their state, as
    each of `COUNTED_STATES` counts those in that state.
    """

    tails: int
    tails_out: int
    loads: int
    loads_unknown: int
    failed: int
    silent: int
    stalled: int
    contradiction: int
    waiting: int
    restarted: int
    loading: int
    pending: int
    complete: int
    at_risk: int
    items_total: int | None
    items_done: int
    items_failed: int
    bytes_done: int
    bytes_total: int | None
    as_of: datetime | None

    @property
    def state(self) -> str:
        """The weightiest state that any load is in."""
        return next((word for word in COUNTED_STATES if getattr(self, word)), State.PENDING.value)

    @property
    def status(self) -> str:
        """The status that matters most: failed before loading before pending before complete."""
        return status_of(self.state)

    @property
    def percent(self) -> int | None:
        """Whole percent, rounded down so that 100 means every byte; None while no total is known."""
        if self.bytes_total is None:
            return None
        if self.bytes_total == 0:
            return 100 if self.complete == self.loads - self.loads_unknown else 0
        return self.bytes_done * 100 // self.bytes_total


def status_of(state: str) -> str:
    """The status on top of which a state lies."""
    return Status.LOADING.value if state in LOADING_STATES else state


def airlines(rows: QuerySet[Airline]) -> QuerySet[Airline]:
    """The airlines with the sums of the loads of their tails in service."""
    active = Q(tails__duty=ServiceStatus.ACTIVE)
    # No subqueries here: they would be grouped by, and so be asked once for each load.
    return _annotated(
        rows,
        "tails__loads__",
        active,
        tails=Count("tails", filter=active, distinct=True),
        tails_out=Count("tails", filter=~active & Q(tails__pk__isnull=False), distinct=True),
    )


def campaigns(rows: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """The campaigns with the sums of their loads on all tails in service."""
    active = Q(loads__tail__duty=ServiceStatus.ACTIVE)
    return _annotated(
        rows.select_related("airline"),
        "loads__",
        active,
        tails=Count("loads__pk", filter=active),
        tails_out=Count("loads__pk", filter=~active & Q(loads__pk__isnull=False)),
    )


def tails(rows: QuerySet[Tail]) -> QuerySet[Tail]:
    """The tails with the sums of all their loads."""
    is_active = Q(duty=ServiceStatus.ACTIVE)
    one, none = Value(1), Value(0)
    return _annotated(
        rows.select_related("airline"),
        "loads__",
        Q(),
        tails=Case(When(is_active, then=one), default=none),
        tails_out=Case(When(is_active, then=none), default=one),
    )


def read_rollup(row: Model) -> Rollup:
    """The sums a query set above put on the row. Raises AttributeError for a row from elsewhere."""
    found = {name.removeprefix(PREFIX): value for name, value in vars(row).items() if name.startswith(PREFIX)}
    if not found:
        raise AttributeError(f"{row!r} has no sums: take it from fleet.stats.rollup")
    for name in ("bytes_done", "bytes_held", "bytes_total"):
        found[name] = join_sum(found.pop(name + HIGH), found.pop(name + LOW))
    held = found.pop("bytes_held")
    if found["bytes_total"] is None:
        found["bytes_done"] = held
    return Rollup(**found)


def split_sum(name: str, path: str, condition: Q | None = None, default: int | None = None) -> dict[str, Sum]:
    """Two sums that `join_sum` puts together: what strangers report may add up to more than 64 bits; SQLite refuses."""
    high, low = F(path) / HALF, F(path) % HALF
    return {
        name + HIGH: Sum(high, filter=condition, default=default),
        name + LOW: Sum(low, filter=condition, default=default),
    }


def join_sum(high: int | None, low: int | None) -> int | None:
    """The sum whose halves these are."""
    return None if high is None or low is None else high * HALF + low


def _annotated(rows: QuerySet[M], path: str, counts: Q, *, tails: Any, tails_out: Any) -> QuerySet[M]:
    """The rows with the sums of those loads at the end of `path` for which `counts` holds."""
    there = ~Q(**{f"{path}status": Status.DELETED}) & Q(**{f"{path}pk__isnull": False}) & counts
    known = there & Q(**{f"{path}bytes_total__isnull": False})
    sums: dict[str, Any] = {
        "tails": tails,
        "tails_out": tails_out,
        "loads": Count(f"{path}pk", filter=there),
        "loads_unknown": Count(f"{path}pk", filter=there & Q(**{f"{path}bytes_total__isnull": True})),
        "at_risk": Count(f"{path}pk", filter=there & Q(**{f"{path}at_risk": True})),
        "items_total": Sum(f"{path}items_total", filter=known),
        "items_done": Sum(f"{path}items_done", filter=known, default=0),
        "items_failed": Sum(f"{path}items_failed", filter=there, default=0),
        "as_of": Max(f"{path}as_of", filter=counts) if counts else Max(f"{path}as_of"),
        **split_sum("bytes_done", f"{path}bytes_done", known, default=0),
        **split_sum("bytes_held", f"{path}bytes_done", there, default=0),
        **split_sum("bytes_total", f"{path}bytes_total", known),
    }
    for state in COUNTED_STATES:
        sums[state] = Count(f"{path}pk", filter=in_state(state, path) & counts)
    annotated: QuerySet[M] = rows.annotate(**{PREFIX + name: expression for name, expression in sums.items()})
    return annotated
