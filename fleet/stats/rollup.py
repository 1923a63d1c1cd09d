"""Totals over loads, for tails, campaigns and airlines: one query for any number of rows.

Those of campaigns and airlines are stored (`fleet.stats.totals`), those of tails are counted by the query. Touches the
database only by changing query sets. Deleted loads are left out, and so are those of tails that are stored or retired
(`tails_out` counts these tails); the totals of a tail itself are over all its loads. A load is counted under exactly
one state. Bytes and items are summed over the loads whose total is known, so that done, total and `percent` are
consistent; `loads_unknown` counts the others. Without any known load, total and percent are None and `bytes_done` is
the sum over all loads.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db.models import Case, Count, F, Max, Model, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, State, Status
from fleet.models import AirlineTotals, CampaignTotals, LoadTotals, Tail
from fleet.state.precedence import LOADING_STATES, in_state
from ifeportal.models import Airline

M = TypeVar("M", bound=Model)
PREFIX: Final = "sum_"
COUNTED_STATES: Final = tuple(state.value for state in State if state != State.DELETED)
SORTABLE: Final = ("loads", *COUNTED_STATES, "at_risk", "items_done", "items_failed", "as_of")
HIGH, LOW = "_high", "_low"
HALF: Final = 2**31


@dataclass(frozen=True, slots=True)
class Rollup:
    """Totals of loads: bytes and counts. `as_of` is the LastModified of the newest object they are based on.

    `tails` are those in service (of a campaign: those with a load). `at_risk` counts loads in any state; each of
    `COUNTED_STATES` counts the loads in that state.
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
        """Return the most severe state of any load."""
        return next((word for word in COUNTED_STATES if getattr(self, word)), State.PENDING.value)

    @property
    def status(self) -> str:
        """Return the most severe status: failed before loading before pending before complete."""
        return status_of(self.state)

    @property
    def percent(self) -> int | None:
        """Return whole percent, rounded down so that 100 means every byte; None while no total is known."""
        if self.bytes_total is None:
            return None
        if self.bytes_total == 0:
            return 100 if self.complete == self.loads - self.loads_unknown else 0
        return self.bytes_done * 100 // self.bytes_total


_HALVES: Final = [name + half for name in ("bytes_done", "bytes_held", "bytes_total") for half in (HIGH, LOW)]
# The columns of stored totals that `read_rollup` reads.
STORED: Final = (*(each.name for each in fields(Rollup) if not each.name.startswith("bytes_")), *_HALVES)
EMPTY: Final = CampaignTotals()


def status_of(state: str) -> str:
    """Return the status of a state: `loading` for the flags on top of it."""
    return Status.LOADING.value if state in LOADING_STATES else state


def airlines(rows: QuerySet[Airline]) -> QuerySet[Airline]:
    """Load airlines with the stored totals of the loads of their tails in service."""
    return rows.select_related("totals")


def campaigns(rows: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """Load campaigns with the stored totals of their loads on tails in service."""
    return rows.select_related("airline", "totals")


def sortable(rows: QuerySet[M]) -> QuerySet[M]:
    """Annotate airlines or campaigns with the stored totals to filter and order by, as `tails` annotates tails."""
    counts = {name: Coalesce(f"totals__{name}", 0) for name in SORTABLE if name != "as_of"}
    annotated: QuerySet[M] = rows.annotate(
        **{PREFIX + name: value for name, value in {**counts, "as_of": F("totals__as_of")}.items()}
    )
    return annotated


def tails(rows: QuerySet[Tail]) -> QuerySet[Tail]:
    """Annotate tails with the totals of all their loads."""
    is_active = Q(duty=ServiceStatus.ACTIVE)
    one, none = Value(1), Value(0)
    sums = {
        **load_sums("loads__", Q()),
        "tails": Case(When(is_active, then=one), default=none),
        "tails_out": Case(When(is_active, then=none), default=one),
    }
    annotated: QuerySet[Tail] = rows.select_related("airline").annotate(
        **{PREFIX + name: expression for name, expression in sums.items()}
    )
    return annotated


def read_rollup(row: Model) -> Rollup:
    """Return the totals a query set above put on the row. Raises AttributeError for any other row."""
    if isinstance(row, Airline | Campaign):
        if "totals" not in row._state.fields_cache:
            raise AttributeError(f"{row!r} has no totals: query it with fleet.stats.rollup")
        found = _stored(row._state.fields_cache["totals"] or EMPTY)
    else:
        found = {name.removeprefix(PREFIX): value for name, value in vars(row).items() if name.startswith(PREFIX)}
    if not found:
        raise AttributeError(f"{row!r} has no totals: query it with fleet.stats.rollup")
    for name in ("bytes_done", "bytes_held", "bytes_total"):
        found[name] = join_sum(found.pop(name + HIGH), found.pop(name + LOW))
    held = found.pop("bytes_held")
    if found["bytes_total"] is None:
        found["bytes_done"] = held
    return Rollup(**found)


def ready(airline: Airline) -> int:
    """Return how many tails in service completed all their loads, of an airline from `airlines`."""
    totals: AirlineTotals | None = airline._state.fields_cache["totals"]
    return totals.ready if totals else 0


def newest_load(row: Airline | Campaign) -> int:
    """Return the highest id of a load, of a row from `airlines` or `campaigns`; 0 without loads."""
    totals: LoadTotals | None = row._state.fields_cache["totals"]
    return totals.newest_load if totals else 0


def _stored(totals: LoadTotals) -> dict[str, Any]:
    return {name: getattr(totals, name) for name in STORED}


def split_sum(name: str, path: str, condition: Q | None = None, default: int | None = None) -> dict[str, Sum]:
    """Return two sums that `join_sum` joins: reported numbers may add up to more than 64 bits, which SQLite rejects."""
    high, low = F(path) / HALF, F(path) % HALF
    return {
        name + HIGH: Sum(high, filter=condition, default=default),
        name + LOW: Sum(low, filter=condition, default=default),
    }


def join_sum(high: int | None, low: int | None) -> int | None:
    return None if high is None or low is None else high * HALF + low


def load_sums(path: str, counts: Q) -> dict[str, Any]:
    """Return the sums over the loads at the end of `path` for which `counts` holds, by name: all but those of tails."""
    existing = ~Q(**{f"{path}status": Status.DELETED}) & Q(**{f"{path}pk__isnull": False}) & counts
    known = existing & Q(**{f"{path}bytes_total__isnull": False})
    sums: dict[str, Any] = {
        "loads": Count(f"{path}pk", filter=existing),
        "loads_unknown": Count(f"{path}pk", filter=existing & Q(**{f"{path}bytes_total__isnull": True})),
        "at_risk": Count(f"{path}pk", filter=existing & Q(**{f"{path}at_risk": True})),
        "items_total": Sum(f"{path}items_total", filter=known),
        "items_done": Sum(f"{path}items_done", filter=known, default=0),
        "items_failed": Sum(f"{path}items_failed", filter=existing, default=0),
        "as_of": Max(f"{path}as_of", filter=counts) if counts else Max(f"{path}as_of"),
        **split_sum("bytes_done", f"{path}bytes_done", known, default=0),
        **split_sum("bytes_held", f"{path}bytes_done", existing, default=0),
        **split_sum("bytes_total", f"{path}bytes_total", known),
    }
    for state in COUNTED_STATES:
        sums[state] = Count(f"{path}pk", filter=in_state(state, path) & counts)
    return sums
