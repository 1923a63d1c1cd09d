"""Tables of the fleet page as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db.models import QuerySet

from fleet.models import Anomaly
from fleet.pages.anomalies import anomaly_file
from fleet.pages.overview.columns import AIRLINES, AirlineCard
from ifeportal.tables.columns import Table


def fleet_tables(cards: Iterable[AirlineCard], strays: QuerySet[Anomaly]) -> dict[str, Callable[[], Table]]:
    """Return the tables by name; the first is the default."""
    return {
        "airlines": lambda: AIRLINES.with_rows(cards),
        "anomalies": lambda: anomaly_file("fleet", strays),
    }
