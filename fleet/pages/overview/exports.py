"""The tables of the page of all airlines as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from django.db.models import QuerySet

from fleet.models import Anomaly
from fleet.pages.exports import SUMS, _table, anomalies
from fleet.pages.overview.queries import Card
from fleet.serialization import serialize_airline
from ifeportal.tables.export import Table

AIRLINES: Final = ("airline", "title", "tails", "tails_out", "state", *SUMS)


def of_fleet(cards: Iterable[Card], strays: QuerySet[Anomaly]) -> dict[str, Callable[[], Table]]:
    """The tables of the fleet page."""
    return {
        "airlines": lambda: _table("airlines", AIRLINES, (serialize_airline(card.airline) for card in cards)),
        "anomalies": lambda: anomalies("fleet", strays),
    }
