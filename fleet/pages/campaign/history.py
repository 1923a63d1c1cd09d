"""The campaign page at an earlier time: parsing of the time, and the rows of loads, items and totals.

Rows come from `fleet.history.point_in_time`, one per tail. Only names of tails and items are read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.core.paginator import Page, Paginator

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, State
from fleet.history.point_in_time import CampaignSnapshot, LoadSnapshot
from fleet.models import Tail
from fleet.pages.campaign.columns import PAST_LOADS, ItemCounts
from fleet.pages.campaign.heatmap import HeatMapItem, items_of
from fleet.state.precedence import STATES
from ifeportal.tables.query import PAGE_ROWS, TableQuery


@dataclass(frozen=True)
class SnapshotTotals:
    """Totals of the loads. `bytes_total` and `bytes_done` cover the loads of which both are known."""

    loads: int
    states: list[tuple[str, int]]
    bytes_done: int
    bytes_total: int
    unknown: int

    @property
    def percent(self) -> int | None:
        """Integer percent, rounded down; None if no total is known."""
        return self.bytes_done * 100 // self.bytes_total if self.bytes_total else None


def in_service(campaign: Campaign, snapshot: CampaignSnapshot) -> CampaignSnapshot:
    """Restrict the snapshot to tails in service today. Service status of earlier times is not recorded."""
    names = set(
        Tail.objects.filter(airline=campaign.airline_id, duty=ServiceStatus.ACTIVE).values_list("name", flat=True)
    )
    return replace(snapshot, loads=[load for load in snapshot.loads if load.tail in names])


def snapshot_totals(snapshot: CampaignSnapshot) -> SnapshotTotals:
    """Add up the loads."""
    known = [(load.bytes_done, load.bytes_total) for load in snapshot.loads if load.bytes_total is not None]
    pairs = [(done, total) for done, total in known if done is not None]
    return SnapshotTotals(
        loads=len(snapshot.loads),
        states=[(state, snapshot.counts[state]) for state in STATES if snapshot.counts[state]],
        bytes_done=sum(done for done, _ in pairs),
        bytes_total=sum(total for _, total in pairs),
        unknown=len(snapshot.loads) - len(pairs),
    )


def load_page(snapshot: CampaignSnapshot, choice: TableQuery) -> Page[LoadSnapshot]:
    """Filter, sort and paginate the loads. Unknown values are last in either direction."""
    search = choice.search.casefold()
    rows = [
        load
        for load in snapshot.loads
        if (not choice.state or load.state == choice.state)
        and (search in load.tail.casefold() or search == load.error_code.casefold())
    ]
    by: Callable[[LoadSnapshot], Any] = PAST_LOADS.sort_of(choice.order)
    known = sorted((load for load in rows if by(load) is not None), key=by, reverse=choice.descending)
    return Paginator([*known, *(load for load in rows if by(load) is None)], PAGE_ROWS).get_page(choice.page)


def item_page(campaign: Campaign, snapshot: CampaignSnapshot, number: str) -> Page[ItemCounts]:
    """Paginate the items of the current manifest."""
    counted = [_item(snapshot, item) for item in items_of(campaign)]
    return Paginator(counted, PAGE_ROWS).get_page(number)


def _item(then: CampaignSnapshot, item: HeatMapItem) -> ItemCounts:
    counts = Counter(then.transfer_state(load.pk, item.name) for load in then.loads)
    complete, failed = counts[State.COMPLETE], counts[State.FAILED]
    return ItemCounts(item, complete, failed, counts.total() - complete - failed - counts[State.PENDING] - counts[""])


STEPS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        "1 day earlier": timedelta(days=-1),
        "1 hour earlier": timedelta(hours=-1),
        "1 hour later": timedelta(hours=1),
        "1 day later": timedelta(days=1),
    }
)

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # no records before

LENGTH_LIMIT: Final = 40


class TimeStep(NamedTuple):
    """A link to a nearby time; `at` is the value of the parameter."""

    label: str
    at: str


def parse_time(text: str, now: datetime) -> datetime | None:
    """Parse `?at=2026-11-20T12:00Z`, in UTC if it names no zone. Return None if it is invalid or in the future."""
    try:
        at = datetime.fromisoformat(text) if len(text) <= LENGTH_LIMIT else now
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if EARLIEST < at < now else None


def format_time(at: datetime) -> str:
    """Format the time for the `at` parameter, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def steps(at: datetime, now: datetime) -> list[TimeStep]:
    """Return links to nearby times that `parse_time` accepts."""
    return [TimeStep(label, format_time(at + by)) for label, by in STEPS.items() if EARLIEST < at + by < now]
