"""The campaign page at an earlier time: the time in the address, and the tables of loads, items and totals.

Rows are those of `fleet.history.point_in_time`, as many as a campaign has tails; read are only the names of tails and
items.
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
    """All loads together. `bytes_total` and `bytes_done` are of those of which both are known."""

    loads: int
    states: list[tuple[str, int]]
    bytes_done: int
    bytes_total: int
    unknown: int

    @property
    def percent(self) -> int | None:
        """Whole percent, rounded down; None while nothing is known."""
        return self.bytes_done * 100 // self.bytes_total if self.bytes_total else None


def in_service(campaign: Campaign, snapshot: CampaignSnapshot) -> CampaignSnapshot:
    """The same of tails that are in service today: whether they were then is not recorded."""
    names = set(
        Tail.objects.filter(airline=campaign.airline_id, duty=ServiceStatus.ACTIVE).values_list("name", flat=True)
    )
    return replace(snapshot, loads=[load for load in snapshot.loads if load.tail in names])


def snapshot_totals(snapshot: CampaignSnapshot) -> SnapshotTotals:
    """What the loads came to."""
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
    """A page of the loads, as the address wants them; what is not known comes last either way."""
    wanted = choice.search.casefold()
    rows = [
        load
        for load in snapshot.loads
        if (not choice.state or load.state == choice.state)
        and (wanted in load.tail.casefold() or wanted == load.error_code.casefold())
    ]
    by: Callable[[LoadSnapshot], Any] = PAST_LOADS.sort_of(choice.order)
    known = sorted((load for load in rows if by(load) is not None), key=by, reverse=choice.descending)
    return Paginator([*known, *(load for load in rows if by(load) is None)], PAGE_ROWS).get_page(choice.page)


def item_page(campaign: Campaign, snapshot: CampaignSnapshot, number: str) -> Page[ItemCounts]:
    """A page of the items of today's manifest."""
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

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # nothing was recorded before

LENGTH_LIMIT: Final = 40


class TimeStep(NamedTuple):
    """A way to a moment a little before or after; `at` is as an address has it."""

    label: str
    at: str


def parse_time(text: str, now: datetime) -> datetime | None:
    """What `?at=` says, `2026-11-20T12:00Z`, in UTC where it names no zone; None if it is no moment or none passed."""
    try:
        found = datetime.fromisoformat(text) if len(text) <= LENGTH_LIMIT else now
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if EARLIEST < found < now else None


def format_time(at: datetime) -> str:
    """The moment as an address has it, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def steps(at: datetime, now: datetime) -> list[TimeStep]:
    """Where one can go from a moment: as far as `parse_time` follows."""
    return [TimeStep(label, format_time(at + by)) for label, by in STEPS.items() if EARLIEST < at + by < now]
