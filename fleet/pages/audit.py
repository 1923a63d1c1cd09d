"""The audit log as a page and as a file: of one airline for its managers, of everything for staff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ifeportal.access import Role, role_or_403, sees_every_airline
from ifeportal.models import Airline, AuditEntry
from ifeportal.tables import query
from ifeportal.tables.export import Column, Table, export
from ifeportal.tables.query import SEARCH_LIMIT, TableQuery, order_by
from ifeportal.web.responses import render_page

# By what the table is ordered: the word in the address, and the field. A young age comes first.
SORTS: Final = {"age": "at", "who": "who", "action": "action", "target": "target", "airline": "whose", "via": "via"}
SYSTEM_ACTORS: Final = {"command": "the command line", "job": "the portal"}  # by the way, where there is no user
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
class AuditQuery:
    """What of the log is asked for. Both days belong to it."""

    who: str = ""
    action: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether entries may be left out."""
        return self != AuditQuery()


def parse_filter(params: QueryDict) -> AuditQuery:
    """Read `who`, `action`, `q`, `since` and `until` (2026-12-01)."""
    who, action, text = (
        params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in ("who", "action", "q")
    )
    return AuditQuery(who, action, text, _day(params.get("since", "")), _day(params.get("until", "")))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def filter_entries(rows: QuerySet[AuditEntry], wanted: AuditQuery, choice: TableQuery) -> QuerySet[AuditEntry]:
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
    return rows.order_by(order_by(F(SORTS[choice.order]), choice), "-at", "-pk")


def who_text(entry: AuditEntry) -> str:
    """Return who made the change: a user, else what acts without one."""
    return entry.who or SYSTEM_ACTORS.get(entry.via, "somebody unknown")


def field_changes(entry: AuditEntry) -> Iterator[tuple[str, str, str]]:
    """What the entry says was changed: the field, what it was, what it is."""
    for field, (before, after) in entry.changes.items():
        yield field.replace("_", " "), _text(before), _text(after)


def _text(value: object) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@never_cache
@require_safe
def airline_audit(request: HttpRequest, airline: str) -> HttpResponseBase:
    """What was changed at an airline."""
    row = role_or_403(Airline.objects.all(), request.user, Role.MANAGER, name=airline)
    return _page(request, AuditEntry.objects.visible_to(request.user).filter(airline=row), row)


@never_cache
@require_safe
def audit(request: HttpRequest) -> HttpResponseBase:
    """What was changed anywhere. Raises PermissionDenied for all but staff."""
    if not sees_every_airline(request.user):
        raise PermissionDenied("The audit log of everything is for staff. Managers find that of their airline there.")
    return _page(request, AuditEntry.objects.visible_to(request.user), None)


def _page(request: HttpRequest, rows: QuerySet[AuditEntry], airline: Airline | None) -> HttpResponseBase:
    choice = query.parse_query(request.GET, tuple(SORTS))
    wanted = parse_filter(request.GET)
    found = filter_entries(rows, wanted, choice)
    name = f"{airline.name} audit" if airline else "audit"
    file = export(request, Table(name, COLUMNS, found.iterator()))
    if file:
        return file
    page = query.paginate(found, choice.page, choice.size)
    return render_page(
        request,
        "fleet/audit.html",
        {
            "airline": airline,
            "choice": choice,
            "wanted": wanted,
            "actions": rows.order_by("action").values_list("action", flat=True).distinct(),
            "page": page,
            "entries": [(entry, who_text(entry), list(field_changes(entry))) for entry in page],
        },
    )
