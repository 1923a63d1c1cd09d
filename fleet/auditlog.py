"""The audit log as a table: what of it is asked for, in which order, and its columns for a file.

Reads entries that its caller has reached by the user's role; changes nothing. What an address says wrongly is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import QueryDict

from ifeportal.models import AuditEntry
from ifeportal.tables.export import Column
from ifeportal.tables.query import SEARCH_LIMIT, Choice, ordered

# By what the table is ordered: the word in the address, and the field. A young age comes first.
SORTS: Final = {"age": "at", "who": "who", "action": "action", "target": "target", "airline": "whose", "via": "via"}
COLUMNS: Final = (
    Column("at", "When", lambda entry: entry.at),
    Column("who", "Who", lambda entry: entry.who),
    Column("action", "What", lambda entry: entry.action),
    Column("target", "Of what", lambda entry: entry.target),
    Column("airline", "Airline", lambda entry: entry.whose),
    Column("changes", "Before and after", lambda entry: entry.changes),
    Column("via", "Way", lambda entry: entry.via),
    Column("address", "From", lambda entry: entry.address),
)


@dataclass(frozen=True)
class Wanted:
    """What of the log is asked for. Both days belong to it."""

    who: str = ""
    action: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def narrowed(self) -> bool:
        """Whether entries may be left out."""
        return self != Wanted()


def wanted_of(params: QueryDict) -> Wanted:
    """Read `who`, `action`, `q`, `since` and `until` (2026-12-01)."""
    who, action, text = (
        params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in ("who", "action", "q")
    )
    return Wanted(who, action, text, _day(params.get("since", "")), _day(params.get("until", "")))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def entries(rows: QuerySet[AuditEntry], wanted: Wanted, choice: Choice) -> QuerySet[AuditEntry]:
    """Those asked for, in the order asked for."""
    if wanted.who:
        rows = rows.filter(who__icontains=wanted.who)
    if wanted.action:
        rows = rows.filter(action=wanted.action)
    if wanted.text:
        rows = rows.alias(told=Cast("changes", TextField()))
        text = wanted.text
        rows = rows.filter(Q(target__icontains=text) | Q(whose__icontains=text) | Q(told__icontains=text))
    if wanted.since:
        rows = rows.filter(at__gte=datetime.combine(wanted.since, time(), UTC))
    if wanted.until and wanted.until < date.max:
        rows = rows.filter(at__lt=datetime.combine(wanted.until + timedelta(days=1), time(), UTC))
    if choice.order == "age":
        return rows.order_by(*(("at", "pk") if choice.descending else ("-at", "-pk")))
    return rows.order_by(ordered(F(SORTS[choice.order]), choice), "-at", "-pk")


def words(entry: AuditEntry) -> Iterator[tuple[str, str, str]]:
    """What the entry says was changed: the field, what it was, what it is."""
    for field, (before, after) in entry.changes.items():
        yield field.replace("_", " "), _word(before), _word(after)


def _word(value: object) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
