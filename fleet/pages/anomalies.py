"""Open anomalies, for pages and as a file. Reads the database only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from operator import attrgetter
from typing import Any, Final

from django.db.models import Count, QuerySet, Window

from fleet.models import Anomaly
from ifeportal.formatting import quantity
from ifeportal.tables.cells import age, labelled
from ifeportal.tables.columns import Column, Table, fields
from loader.errors import find_error_kind

ANOMALIES_SHOWN: Final = 12


@dataclass(frozen=True)
class AnomalySummary:
    """The newest open anomalies and the number of all open ones."""

    newest: Sequence[Anomaly]
    count: int

    @property
    def table(self) -> Table:
        """Columns of the newest ones."""
        return ANOMALIES

    @property
    def text(self) -> str:
        """The number of objects, and that others are not affected."""
        return f"{quantity(self.count, 'object')} in the buckets could not be read. Other objects are not affected."


def open_anomalies(anomalies: QuerySet[Anomaly]) -> AnomalySummary:
    """Load the newest open anomalies; one query."""
    rows = anomalies.filter(resolved_at=None).order_by("-last_seen", "pk")
    newest = list(rows.annotate(count=Window(Count("pk")))[:ANOMALIES_SHOWN])
    return AnomalySummary(newest, getattr(newest[0], "count") if newest else 0)  # noqa: B009  (an annotation)


def _problem(row: Anomaly, context: Any) -> str:
    return f'<span class="badge warn">{escape(row.problem)}</span>'


def _object(row: Anomaly, context: Any) -> str:
    return f"<code>{escape(row.bucket)}: {escape(row.key)}</code>"


def _detail(row: Anomaly, context: Any) -> str:
    known = find_error_kind(row.problem)
    if not known:
        return escape(row.detail)
    advice = f'<span class="muted"><b>What to do:</b> {escape(known.advice)}</span>'
    return f"{escape(row.detail or known.sentence)} {advice}"


def _first_seen(row: Anomaly, context: Any) -> str:
    return labelled("First seen", age(row.first_seen, context["now"]))


def _last_seen(row: Anomaly, context: Any) -> str:
    return labelled("Last seen", age(row.last_seen, context["now"]))


ANOMALIES: Final = Table(
    "anomalies",
    (
        Column("airline", "Airline", lambda row: row.airline and row.airline.name),
        *fields("bucket", get=attrgetter),
        Column("key", "Key", attrgetter("key"), label="Object", css="c-campaign name", header_css="", render=_object),
        Column("problem", "Problem", attrgetter("problem"), css="c-name", header_css="", render=_problem),
        Column(
            "detail",
            "Detail",
            attrgetter("detail"),
            label="Details",
            css="c-campaign",
            header_css="",
            render=_detail,
        ),
        Column("first_seen", "First seen", attrgetter("first_seen"), css="num", render=_first_seen),
        Column("last_seen", "Last seen", attrgetter("last_seen"), css="num", render=_last_seen),
    ),
    page=("problem", "key", "detail", "first_seen", "last_seen"),
)


def anomaly_file(name: str, rows: QuerySet[Anomaly]) -> Table:
    """Return the table of open anomalies for a file."""
    is_open = rows.filter(resolved_at=None).order_by("-last_seen", "pk").select_related("airline")
    return ANOMALIES.with_rows(is_open, f"{name} anomalies")
