"""Tables of the page of all airlines as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from django.db.models import QuerySet

from fleet.models import Anomaly
from fleet.pages.exports import TOTALS, anomalies, build_table
from fleet.pages.overview.queries import AirlineCard
from fleet.serialization import serialize_airline
from ifeportal.tables.export import Table

AIRLINES: Final = ("airline", "title", "tails", "tails_out", "state", *TOTALS)


def fleet_tables(cards: Iterable[AirlineCard], strays: QuerySet[Anomaly]) -> dict[str, Callable[[], Table]]:
    """The tables of the fleet page."""
    return {
        "airlines": lambda: build_table("airlines", AIRLINES, (serialize_airline(card.airline) for card in cards)),
        "anomalies": lambda: anomalies("fleet", strays),
    }
