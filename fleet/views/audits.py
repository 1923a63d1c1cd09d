"""The audit log: of one airline for its managers, of everything for staff."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fleet import auditlog
from ifeportal.access import Role, role_or_403, sees_every_airline
from ifeportal.models import Airline, AuditEntry
from ifeportal.tables import query
from ifeportal.tables.export import Table, export
from ifeportal.web.responses import answer


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
    choice = query.choice_of(request.GET, tuple(auditlog.SORTS))
    wanted = auditlog.wanted_of(request.GET)
    found = auditlog.entries(rows, wanted, choice)
    name = f"{airline.name} audit" if airline else "audit"
    file = export(request, Table(name, auditlog.COLUMNS, found.iterator()))
    if file:
        return file
    page = query.page_of(found, choice.page, choice.size)
    return answer(
        request,
        "fleet/audit.html",
        {
            "airline": airline,
            "choice": choice,
            "wanted": wanted,
            "actions": rows.order_by("action").values_list("action", flat=True).distinct(),
            "page": page,
            "entries": [(entry, list(auditlog.words(entry))) for entry in page],
        },
    )
