"""Anomalies that are still open, for pages and as a file. Reads the database only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from django.db.models import Count, QuerySet, Window

from fleet.models import Anomaly
from ifeportal.tables.columns import Column, Table, fields

ANOMALIES_SHOWN: Final = 12


@dataclass(frozen=True)
class AnomalySummary:
    """The newest few anomalies that still stand, and how many there are."""

    newest: Sequence[Anomaly]
    count: int


def open_anomalies(anomalies: QuerySet[Anomaly]) -> AnomalySummary:
    """What could not be understood and still stands; one query."""
    rows = anomalies.filter(resolved_at=None).order_by("-last_seen", "pk")
    found = list(rows.annotate(count=Window(Count("pk")))[:ANOMALIES_SHOWN])
    return AnomalySummary(found, getattr(found[0], "count") if found else 0)  # noqa: B009  (an annotation)


ANOMALIES: Final = Table(
    "anomalies",
    (
        Column("airline", "Airline", lambda row: row.airline and row.airline.name),
        *fields("bucket", "key", "problem", "detail", "first_seen", "last_seen", get=attrgetter),
    ),
)


def anomaly_file(name: str, rows: QuerySet[Anomaly]) -> Table:
    """What could not be understood and still stands, as a file."""
    found = rows.filter(resolved_at=None).order_by("-last_seen", "pk").select_related("airline")
    return ANOMALIES.with_rows(found, f"{name} anomalies")
