"""Views of the library: the list with its files, one item, and the question before an item is deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from campaigns.library.models import LibraryItem, LibraryItemQuerySet
from campaigns.library.pages.columns import LIBRARY, LibraryRow
from campaigns.library.pages.forms import TextsForm
from campaigns.library.requests import delete_item, edit_item
from campaigns.library.uses import set_uses, with_uses
from ifeportal.access import Role, role_or_403, visible_or_404
from ifeportal.audit import Actor
from ifeportal.exports.responses import export
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables.query import paginate, parse_query, select_rows
from ifeportal.tables.search import SEARCH_LIMIT
from ifeportal.web.responses import compressed, render_page

FILTERS: Final = ("airline", "kind", "used")
FILTER_PARAMETERS: Final = (*FILTERS, "q", "sort", "page", "size")
NAMED_AIRLINES: Final = 200  # in the filter
NAMED_KINDS: Final = 100
USED: Final = {"yes": "in a campaign", "no": "in no campaign"}


@never_cache
@require_safe
@compressed
def library(request: HttpRequest) -> HttpResponseBase:
    """Show the libraries of the user's airlines, or export them."""
    rev = current_rev()  # before the rows
    choice = parse_query(request.GET, LIBRARY)
    wanted = wanted_filters(request.GET)
    visible = LibraryItem.objects.visible_to(request.user)
    rows = select_rows(filter_items(visible, wanted), LIBRARY, choice, "-pk").select_related("airline", "added_by")
    file = export(request, LIBRARY.with_rows(with_uses(rows.iterator(500)))) if "export" in request.GET else None
    if file:
        return file
    page = paginate(rows, choice.page, choice.size)
    found = list(page)
    set_uses(found)
    managed = managed_airlines(request.user)
    return render_page(
        request,
        "library/library.html",
        {
            "rev": rev,
            "choice": choice,
            "wanted": wanted,
            "is_filtered": choice.is_filtered or bool(wanted),
            "query": kept_query(request.GET),
            "table": LIBRARY,
            "page": page,
            "rows": [LibraryRow(item, item.airline_id in managed) for item in found],
            "kinds": kinds_of(visible),
            "uses": USED.items(),
            "airlines": list(Airline.objects.visible_to(request.user).order_by("name")[:NAMED_AIRLINES]),
            "may_upload": bool(managed),
        },
    )


def managed_airlines(user: AbstractUser | AnonymousUser) -> set[int]:
    """Return the ids of the airlines that the user manages."""
    return set(Airline.objects.with_role(user, Role.MANAGER).values_list("pk", flat=True))


def kinds_of(rows: LibraryItemQuerySet) -> list[str]:
    """Return the kinds that items have, for a choice."""
    kinds = rows.exclude(kind="").order_by("kind").values_list("kind", flat=True).distinct()
    return list(kinds[:NAMED_KINDS])


def wanted_filters(params: QueryDict) -> dict[str, str]:
    """Return the filters besides the search that are set."""
    values = {name: params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in FILTERS}
    values["used"] = values["used"] if values["used"] in USED else ""
    return {name: value for name, value in values.items() if value}


def filter_items(rows: LibraryItemQuerySet, wanted: Mapping[str, str]) -> LibraryItemQuerySet:
    """Return the items that the filters select."""
    if "airline" in wanted:
        rows = rows.filter(airline__name=wanted["airline"])
    if "kind" in wanted:
        rows = rows.filter(kind=wanted["kind"])
    if "used" in wanted:
        rows = rows.used() if wanted["used"] == "yes" else rows.unused()
    return rows


def kept_query(params: Mapping[str, Any]) -> str:
    """Return the query string without unknown parameters, to come back to."""
    return urlencode({name: str(params[name])[:SEARCH_LIMIT] for name in FILTER_PARAMETERS if params.get(name)})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def item(request: HttpRequest, pk: int) -> HttpResponse:
    """Show an item, or change its title and kind. Raises Http404, PermissionDenied."""
    rows = LibraryItem.objects.select_related("airline", "added_by")
    if request.method == "POST":
        return _edit(request, role_or_403(rows, request.user, Role.MANAGER, pk=pk))
    row = visible_or_404(rows, request.user, pk=pk)
    set_uses([row])
    visible = LibraryItem.objects.visible_to(request.user)
    may_act = row.airline_id in managed_airlines(request.user)
    return render_page(request, "library/item.html", {"item": row, "may_act": may_act, "kinds": kinds_of(visible)})


def _edit(request: HttpRequest, row: LibraryItem) -> HttpResponse:
    form = TextsForm(request.POST)
    if form.is_valid():
        texts = {name: form.cleaned_data[name] for name in form.fields if name in request.POST}
        edit_item(Actor.of(request), row, texts)
        messages.success(request, f"{row.name} is saved.")
    else:
        field, errors = next(iter(form.errors.items()))
        messages.error(request, f"Not saved. {str(field).capitalize()}: {errors[0]}")
    if "query" not in request.POST:
        return redirect(row)
    query = kept_query(QueryDict(request.POST["query"][: SEARCH_LIMIT * len(FILTER_PARAMETERS)]))
    return redirect(f"{reverse('library')}?{query}" if query else reverse("library"))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask before an item is deleted; then delete it. Raises Http404, PermissionDenied."""
    rows = LibraryItem.objects.select_related("airline", "added_by")
    row = role_or_403(rows, request.user, Role.MANAGER, pk=pk)
    if request.method == "POST":
        if delete_item(Actor.of(request), row) is None:
            raise Http404
        messages.success(request, f"{row.name} is being deleted.")
        return redirect("library")
    set_uses([row])
    return render_page(request, "library/delete.html", {"item": row})
