"""The tables of the airline page as files: all rows that the address selects, not one page of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db.models import F, Q

from fleet.choices import ServiceStatus
from fleet.models import Anomaly, Load
from fleet.pages.airline.rows import TailRow, iter_tails
from fleet.pages.exports import TOTALS, anomalies, build_table
from fleet.pages.orderings import LOAD_ORDERINGS
from fleet.serialization import serialize_campaign, serialize_load
from fleet.state.precedence import in_state
from fleet.stats import rollup
from ifeportal.models import Airline
from ifeportal.tables.export import CHUNK_SIZE, Table
from ifeportal.tables.query import TableQuery, order_by

LOAD_COLUMNS: Final = (
    "campaign", "status", "state", "at_risk", "percent", "bytes_done", "bytes_total", "items_total", "items_done",
    "items_failed", "rate_bps", "effective_bps", "eta_seconds", "eta_latest_seconds", "proof", "error_code",
    "error", "error_content", "as_of", "started_at", "finished_at", "archived_at",
)  # fmt: skip

TAIL_COLUMNS: Final = ("aircraft_type", "duty", "heard_at", "loader_version", "loader_state", "loader_reason", "stores")

LOADS: Final = ("airline", "tail", *LOAD_COLUMNS)

CAMPAIGNS: Final = (
    "airline",
    "campaign",
    "title",
    "version",
    "exhibition_starts",
    "exhibition_ends",
    "manifest_state",
    "manifest_problem",
    "signed",
    "withdrawn_at",
    "items",
    "bytes",
    "tails",
    "tails_out",
    "state",
    *TOTALS,
)


def airline_tables(airline: Airline, choice: TableQuery) -> dict[str, Callable[[], Table]]:
    """The tables of an airline's page; the first is the one that is meant where none is named."""
    return {
        "tails": lambda: _tails(airline, choice),
        "loads": lambda: _loads(airline, choice),
        "campaigns": lambda: _campaigns(airline),
        "anomalies": lambda: anomalies(airline.name, Anomaly.objects.filter(airline=airline)),
    }


def _tails(airline: Airline, choice: TableQuery) -> Table:
    keys = ("airline", "tail", *TAIL_COLUMNS, *LOAD_COLUMNS)
    return build_table(f"{airline.name} tails", keys, map(_tail, iter_tails(airline, choice)))


def _tail(row: TailRow) -> dict[str, Any]:
    load = serialize_load(row.load) if row.load else {}
    tail = {key: getattr(row.tail, key) for key in TAIL_COLUMNS}
    return {
        **{key: load.get(key) for key in LOAD_COLUMNS},
        **tail,
        "airline": row.tail.airline.name,
        "tail": row.tail.name,
    }


def _loads(airline: Airline, choice: TableQuery) -> Table:
    """Every load in the chosen state, also those that speak for no tail; with a state as with its count."""
    rows = Load.objects.filter(in_state(choice.state), tail__airline=airline)
    if choice.state:
        rows = rows.filter(tail__duty=ServiceStatus.ACTIVE)
    if choice.campaign:
        rows = rows.filter(campaign__name=choice.campaign)
    if choice.search:
        named = Q(tail__name__icontains=choice.search) | Q(campaign__name__icontains=choice.search)
        rows = rows.filter(named | Q(error_code__iexact=choice.search))
    column = LOAD_ORDERINGS.get(choice.order, F("campaign__name" if choice.order == "campaign" else "tail__name"))
    rows = rows.order_by(order_by(column, choice), "tail__name", "campaign__name")
    found = rows.select_related("tail__airline", "campaign").iterator(CHUNK_SIZE)
    return build_table(f"{airline.name} loads", LOADS, map(serialize_load, found))


def _campaigns(airline: Airline) -> Table:
    rows = rollup.campaigns(airline.campaigns.all()).order_by(F("exhibition_starts").desc(nulls_first=True), "-name")
    return build_table(f"{airline.name} campaigns", CAMPAIGNS, map(serialize_campaign, rows.iterator(CHUNK_SIZE)))
