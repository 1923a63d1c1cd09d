"""The tail page: the variables of its template, in a number of queries that does not grow with the rows.

Reads the database only, for a tail that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core.paginator import Page
from django.http import QueryDict

from campaigns.models import Campaign
from fleet.choices import State, Status
from fleet.models import Anomaly, Load, Tail, Transfer
from fleet.pages import anomalies
from fleet.pages.anomalies import AnomalySummary
from fleet.pages.freshness import Freshness, StoreOutage, airline_freshness, store_outage
from fleet.pages.risk import risk_sentence
from fleet.pages.tail import presenter, queries
from fleet.pages.tail.columns import EVENTS, ITEMS, LOADS, MOVING, ItemRow
from fleet.pages.tail.presenter import DiskFit, LoadGroup
from fleet.pages.tail.queries import EVENT_STATES, LOADING_ROWS, EventPage
from fleet.state import precedence
from fleet.stats.rollup import COUNTED_STATES
from ifeportal import formatting
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.query import TableQuery, parse_query

UNFINISHED: Final = (Status.LOADING, Status.FAILED, Status.PENDING)
RARE_STATES: Final = (
    State.CONTRADICTION,
    State.WAITING,
    State.RESTARTED,
)  # filters only if an item is in them


@dataclass(frozen=True)
class PrimaryLoad:
    """The primary load of the tail. `left` is the time left, `completion` says when it is or will be complete."""

    load: Load
    is_expected: bool
    left: str
    completion: str
    risk: str


@dataclass(frozen=True)
class TailPage:
    """Variables of the template. `load` is the load whose items are listed; `chips` are states with counts."""

    airline: Airline
    tail: Tail
    freshness: Freshness
    outage: StoreOutage
    loads: Sequence[Load]
    groups: Sequence[LoadGroup]
    not_started: Sequence[Campaign]
    primary: PrimaryLoad | None
    fit: DiskFit
    load: Load | None
    manifest_label: str
    moving: Sequence[Transfer]
    more_moving: bool
    idle: str
    choice: TableQuery
    chips: Sequence[tuple[str, str, int]]
    page: Page[Transfer] | None
    rows: Sequence[ItemRow]
    timeline: EventPage
    event_states: Sequence[str]
    anomalies: AnomalySummary
    newest_load: int
    newest_transfer: int
    operated: bool
    loads_table: Table = LOADS
    items_table: Table = ITEMS
    moving_table: Table = MOVING
    events_table: Table = EVENTS


def load(tail: Tail, loads: Sequence[Load], chosen: Load | None, params: QueryDict, now: datetime) -> TailPage:
    """Load the page of the tail with these loads; `chosen` is the load whose items are listed."""
    choice = parse_query(params, ITEMS, precedence.CHOICES)
    counts = queries.counts(loads, chosen)
    page, rows = queries.item_page(chosen, choice, counts, queries.requested_item(params)) if chosen else (None, [])
    moving = queries.loading_now(tail)
    fresh = airline_freshness(tail.airline, now)
    return TailPage(
        airline=tail.airline,
        tail=tail,
        freshness=fresh,
        outage=store_outage([fresh]),
        loads=loads,
        groups=presenter.load_groups(loads, now, show_all="all" in params),
        not_started=queries.not_started(tail, now),
        primary=_primary(loads[0], now) if loads else None,
        fit=presenter.disk_fit(tail.stores, [each for each in loads if each.status in UNFINISHED]),
        load=chosen,
        manifest_label=presenter.manifest_label(chosen.campaign) if chosen else "",
        moving=moving[:LOADING_ROWS],
        more_moving=len(moving) > LOADING_ROWS,
        idle=presenter.idle(tail),
        choice=choice,
        chips=_chips(counts.states),
        page=page,
        rows=rows,
        timeline=queries.event_page(tail, params),
        event_states=EVENT_STATES,
        anomalies=anomalies.open_anomalies(
            Anomaly.objects.filter(airline=tail.airline, key__startswith=f"{tail.airline.name}/{tail.name}/")
        ),
        newest_load=max((each.pk for each in loads), default=0),
        newest_transfer=counts.newest,
        operated=getattr(tail, "operated"),  # noqa: B009  (an annotation)
    )


def _primary(load: Load, now: datetime) -> PrimaryLoad:
    expected = presenter.expected_completion(load, now)
    return PrimaryLoad(
        load,
        expected is not None,
        formatting.band(load.eta_seconds, load.eta_latest_seconds),
        presenter.completion(load, expected),
        risk_sentence(load, now),
    )


def _chips(counts: dict[str, int]) -> list[tuple[str, str, int]]:
    offered = (state for state in COUNTED_STATES if counts[state] or state not in RARE_STATES)
    return [("", "all", counts["all"]), *((state, state, counts[state]) for state in offered)]
