"""The fleet page: one card per airline, in a number of queries that does not grow with the airlines.

Reads the database only, for airlines that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When, Window
from django.db.models.functions import RowNumber

from fleet.attention import queries
from fleet.choices import Status
from fleet.models import Anomaly, Load
from fleet.pages.anomalies import AnomalySummary, open_anomalies
from fleet.pages.freshness import StoreOutage, load_freshness, store_outage
from fleet.pages.overview.columns import AIRLINES, ORDERS, URGENT_COLUMNS, AirlineCard, UrgentLoad
from fleet.stats import rollup
from fleet.stats.throughput import received_today
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.query import TableQuery

WORST: Final = 3  # loads on a card
# Precedence of urgent loads.
_WEIGHT: Final = Case(
    When(status=Status.FAILED, then=Value(0)),
    When(stalled=True, then=Value(1)),
    When(silent=True, then=Value(2)),
    When(at_risk=True, then=Value(3)),
    default=Value(4),
    output_field=IntegerField(),
)


@dataclass(frozen=True)
class FleetPage:
    """Variables of the template. `newest` is the highest id of the airlines shown."""

    choice: TableQuery
    cards: Sequence[AirlineCard]
    outage: StoreOutage
    newest: int
    anomalies: AnomalySummary
    airlines_table: Table = AIRLINES
    orders: Sequence[str] = ORDERS


def load(choice: TableQuery, cards: Sequence[AirlineCard], strays: QuerySet[Anomaly]) -> FleetPage:
    """Load the page of these cards and of the anomalies without an airline."""
    return FleetPage(
        choice=choice,
        cards=cards,
        outage=store_outage([card.freshness for card in cards]),
        newest=max((card.airline.pk for card in cards), default=0),
        anomalies=open_anomalies(strays),
    )


def cards(airlines: ScopedQuerySet[Airline], choice: TableQuery, now: datetime) -> list[AirlineCard]:
    """Return one card per airline, in the chosen order; four queries."""
    if choice.search:
        airlines = airlines.filter(Q(name__icontains=choice.search) | Q(title__icontains=choice.search))
    rows = list(rollup.airlines(airlines))
    fresh, received, worst = load_freshness(rows, now), received_today(rows, now), _worst(rows)
    unsorted = [
        AirlineCard(
            row, rollup.read_rollup(row), fresh[row.name], received[row.pk], rollup.ready(row), worst.get(row.pk, [])
        )
        for row in rows
    ]
    rank = AIRLINES.sort_of(choice.order)
    return sorted(unsorted, key=lambda card: (rank(card), str(card.airline).casefold()), reverse=choice.descending)


def _worst(airlines: list[Airline]) -> dict[int, list[UrgentLoad]]:
    """Return the most urgent loads by airline id, nearest exhibition first; one query."""
    order = [_WEIGHT.asc(), F("campaign__exhibition_starts").asc(nulls_last=True), F("tail__name").asc()]
    place = Window(RowNumber(), partition_by=F("tail__airline"), order_by=order)
    urgent = queries.needing_attention(Load.objects.filter(tail__airline__in=airlines)).annotate(place=place)
    # Only ids are ranked: the rows of all urgent loads would be sorted by the database otherwise.
    rows = Load.objects.filter(pk__in=urgent.filter(place__lte=WORST).values("pk")).order_by(*order)
    worst: dict[int, list[UrgentLoad]] = {}
    for load in map(UrgentLoad._make, rows.values_list(*URGENT_COLUMNS)):
        worst.setdefault(load.airline_id, []).append(load)
    return worst
