"""The audit log as a page and a file: of one airline for its managers, complete for staff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from html import escape
from operator import attrgetter
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ifeportal.access import Role, role_or_403, sees_every_airline
from ifeportal.exports.responses import export
from ifeportal.models import Airline, AuditEntry
from ifeportal.tables import query
from ifeportal.tables.cells import age, instant
from ifeportal.tables.columns import Column, Table
from ifeportal.tables.query import TableQuery, order_by
from ifeportal.tables.search import SEARCH_LIMIT, check_search
from ifeportal.web.responses import render_page

SYSTEM_ACTORS: Final = {"command": "command line", "job": "portal"}  # by `via`, for entries without a user


@dataclass(frozen=True)
class AuditQuery:
    """Filter of the audit log. `since` and `until` are inclusive days (UTC)."""

    who: str = ""
    action: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the filter may exclude entries."""
        return self != AuditQuery()


def parse_filter(params: QueryDict) -> AuditQuery:
    """Parse `who`, `action`, `q`, `since` and `until` (2026-12-01). Raises SearchTooLong."""
    who, action = (params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in ("who", "action"))
    text = check_search(params.get("q", ""))
    return AuditQuery(who, action, text, _day(params.get("since", "")), _day(params.get("until", "")))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def filter_entries(rows: QuerySet[AuditEntry], wanted: AuditQuery, choice: TableQuery) -> QuerySet[AuditEntry]:
    """Filter and order the entries."""
    if wanted.who:
        rows = rows.filter(who__icontains=wanted.who)
    if wanted.action:
        rows = rows.filter(action=wanted.action)
    if wanted.text:
        rows = rows.alias(changes_text=Cast("changes", TextField()))
        text = wanted.text
        rows = rows.filter(Q(target__icontains=text) | Q(whose__icontains=text) | Q(changes_text__icontains=text))
    if wanted.since:
        rows = rows.filter(at__gte=datetime.combine(wanted.since, time(), UTC))
    if wanted.until and wanted.until < date.max:
        rows = rows.filter(at__lt=datetime.combine(wanted.until + timedelta(days=1), time(), UTC))
    if choice.order == "age":
        return rows.order_by(*(("at", "pk") if choice.descending else ("-at", "-pk")))
    return rows.order_by(order_by(AUDIT.sort_of(choice.order), choice), "-at", "-pk")


def who_text(entry: AuditEntry) -> str:
    """Return the user who made the change, else the name of the system actor."""
    return entry.who or SYSTEM_ACTORS.get(entry.via, "unknown")


def field_changes(entry: AuditEntry) -> Iterator[tuple[str, str, str]]:
    """Yield each changed field with its old and new value."""
    for field, (before, after) in entry.changes.items():
        yield field.replace("_", " "), _text(before), _text(after)


def _text(value: object) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _when(entry: AuditEntry, context: Any) -> str:
    return f'{age(entry.at, context["now"], "at")} <span class="muted small">{instant(entry.at, "at")}</span>'


def _who(entry: AuditEntry, context: Any) -> str:
    return escape(who_text(entry))


def _action(entry: AuditEntry, context: Any) -> str:
    return f"<code>{escape(entry.action)}</code>"


def _target(entry: AuditEntry, context: Any) -> str:
    return escape(entry.target)


def _airline(entry: AuditEntry, context: Any) -> str:
    return escape(entry.whose)


def _changes(entry: AuditEntry, context: Any) -> str:
    lines = [_change(*change) for change in field_changes(entry)]
    return f'<ul class="changed">{"".join(lines)}</ul>' if lines else ""


def _change(field: str, before: str, after: str) -> str:
    was = f'<del class="was">{escape(before)}</del> → ' if before else ""
    now = f'<span class="is">{escape(after or "(empty)")}</span>'
    return f'<li><span class="field-name">{escape(field)}</span> {was}{now}</li>'


def _from(entry: AuditEntry, context: Any) -> str:
    return escape(f"{entry.via}, {entry.address}" if entry.address else entry.via)


# Ascending age means newest first.
AUDIT: Final = Table(
    "audit",
    (
        Column(
            "at", "When", attrgetter("at"), word="age", css="when", header_css="", sort=F("at"), render=_when,
        ),
        Column("who", "User", attrgetter("who"), sort=F("who"), render=_who),
        Column("action", "Action", attrgetter("action"), sort=F("action"), render=_action),
        Column("target", "Target", attrgetter("target"), sort=F("target"), render=_target),
        Column("airline", "Airline", attrgetter("whose"), sort=F("whose"), render=_airline),
        Column("changes", "Changes", attrgetter("changes"), render=_changes),
        Column(
            "via", "Source", attrgetter("via"), label="Source", css="muted", header_css="", sort=F("via"), render=_from,
        ),
        Column("address", "Address", attrgetter("address")),
    ),
    order="age",
)  # fmt: skip
AIRLINE_AUDIT: Final = replace(AUDIT, page=[word for word in AUDIT.shown if word != "airline"])


@never_cache
@require_safe
def airline_audit(request: HttpRequest, airline: str) -> HttpResponseBase:
    """Show the log of an airline to its managers."""
    row = role_or_403(Airline.objects.all(), request.user, Role.MANAGER, name=airline)
    return _page(request, AuditEntry.objects.visible_to(request.user).filter(airline=row), row)


@never_cache
@require_safe
def audit(request: HttpRequest) -> HttpResponseBase:
    """Show the complete log. Raises PermissionDenied for users who are not staff."""
    if not sees_every_airline(request.user):
        raise PermissionDenied(
            "The complete audit log is for staff. Managers find the log of an airline on the page of the airline."
        )
    return _page(request, AuditEntry.objects.visible_to(request.user), None)


def _page(request: HttpRequest, rows: QuerySet[AuditEntry], airline: Airline | None) -> HttpResponseBase:
    table = AIRLINE_AUDIT if airline else AUDIT
    choice = query.parse_query(request.GET, table)
    wanted = parse_filter(request.GET)
    entries = filter_entries(rows, wanted, choice)
    name = f"{airline.name} audit" if airline else "audit"
    file = export(request, table.with_rows(entries, name))
    if file:
        return file
    page = query.paginate(entries, choice.page, choice.size)
    return render_page(
        request,
        "fleet/audit.html",
        {
            "airline": airline,
            "choice": choice,
            "wanted": wanted,
            "actions": rows.order_by("action").values_list("action", flat=True).distinct(),
            "table": table,
            "page": page,
        },
    )
