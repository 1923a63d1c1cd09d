"""Views of the activity page: the list, its files, and the forms that cancel and retry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from ifeportal.access import sees_every_airline
from ifeportal.audit import Actor
from ifeportal.exports.responses import export
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.operations.actions import Action, find_for_action, perform
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationQuerySet
from ifeportal.operations.pages.columns import OPERATIONS, ActivityRow, open_text
from ifeportal.operations.queries import set_positions, status_condition, status_words, visible_operations
from ifeportal.operations.requests import RequestRejected
from ifeportal.tables.query import paginate, parse_query, select_rows
from ifeportal.tables.search import SEARCH_LIMIT
from ifeportal.web.responses import compressed, render_page

NAMED_AIRLINES: Final = 200  # in the filter
FILTER_PARAMETERS: Final = ("kind", "status", "airline", "mine", "q", "sort", "page", "size")
DONE: Final[Mapping[Action, str]] = {
    "cancel": "Cancelling “{}”. A worker ends it within seconds.",
    "retry": "“{}” is queued again.",
}


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Filter of the page. An unknown word selects everything, so that a pasted link never fails."""

    kind: str = ""
    status: str = ""
    airline: str = ""
    mine: bool = False
    text: str = ""

    @classmethod
    def parse(cls, params: QueryDict, text: str) -> ActivityQuery:
        kind, status = params.get("kind", ""), params.get("status", "")
        return cls(
            kind=kind if kind in registered_kinds() else "",
            status=status if status in status_words() else "",
            airline=params.get("airline", "").replace("\0", "").strip()[:SEARCH_LIMIT],
            mine=params.get("mine") == "1",
            text=text,
        )

    @property
    def is_filtered(self) -> bool:
        """Whether the filter may exclude operations."""
        return self != ActivityQuery()

    def select(self, rows: OperationQuerySet, user: AbstractUser | AnonymousUser) -> OperationQuerySet:
        """Return the operations that the page shows; the text is searched by the table."""
        if self.kind:
            rows = rows.filter(kind=self.kind)
        if self.status:
            rows = rows.filter(status_condition(self.status))
        if self.airline:
            rows = rows.filter(airline__name=self.airline)
        if self.mine:
            rows = rows.filter(user=user.pk)
        return rows


@never_cache
@require_safe
@compressed
def activity(request: HttpRequest) -> HttpResponseBase:
    """Show the operations of the user's airlines, or export them."""
    rev = current_rev()  # before the rows
    choice = parse_query(request.GET, OPERATIONS)
    wanted = ActivityQuery.parse(request.GET, choice.search)
    visible = visible_operations(request.user)
    rows = select_rows(wanted.select(visible, request.user), OPERATIONS, choice, "-pk")
    file = export(request, OPERATIONS.with_rows(rows))
    if file:
        return file
    page = paginate(rows, choice.page, choice.size)
    found = list(page)
    set_positions(found)
    roles = _roles(request.user)
    open_count = Operation.objects.visible_to(request.user).open().count()
    return render_page(
        request,
        "operations/activity.html",
        {
            "rev": rev,
            "choice": choice,
            "wanted": wanted,
            "query": _kept(request.GET),
            "table": OPERATIONS,
            "page": page,
            "rows": [ActivityRow.of(row, roles) for row in found],
            "newest": Operation.objects.visible_to(request.user).order_by("-pk").values_list("pk", flat=True).first(),
            "open_text": open_text(open_count),
            "kinds": [(kind.name, kind.label) for kind in registered_kinds().values()],
            "statuses": status_words(),
            "airlines": list(Airline.objects.visible_to(request.user).order_by("name")[:NAMED_AIRLINES]),
        },
    )


def _roles(user: AbstractUser | AnonymousUser) -> Mapping[int, str] | None:
    """Return the user's role by id of the airline; None: every role everywhere."""
    if sees_every_airline(user):
        return None
    return dict(Airline.objects.visible_to(user).values_list("pk", "memberships__role"))


def _kept(params: Mapping[str, Any]) -> str:
    """Return the query string without unknown parameters, to come back to."""
    return urlencode({name: str(params[name])[:SEARCH_LIMIT] for name in FILTER_PARAMETERS if params.get(name)})


@require_POST
def cancel(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Cancel an operation. Raises Http404, PermissionDenied."""
    return _perform("cancel", request, uuid)


@require_POST
def retry(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Queue an operation again. Raises Http404, PermissionDenied."""
    return _perform("retry", request, uuid)


def _perform(action: Action, request: HttpRequest, uuid: UUID) -> HttpResponse:
    try:
        row = perform(action, find_for_action(request.user, uuid), Actor.of(request))
        messages.success(request, DONE[action].format(row.title))
    except RequestRejected as error:
        messages.error(request, str(error))
    query = _kept(QueryDict(request.POST.get("query", "")[: SEARCH_LIMIT * len(FILTER_PARAMETERS)]))
    return redirect(f"{reverse('activity')}?{query}" if query else reverse("activity"))
