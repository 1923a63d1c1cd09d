"""View that adds items of the library to a campaign: choose them, and follow the copies."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from campaigns.drafts.item_admin import draft_page
from campaigns.library.models import LibraryItem
from campaigns.library.pages.columns import PICKER, LibraryRow
from campaigns.library.pages.views import filter_items, kept_query, kinds_of, wanted_filters
from campaigns.library.requests import MOST_ITEMS, DraftNames, RequestRefused, copies_into, request_copies
from campaigns.models import Draft
from ifeportal.access import Role, role_or_403
from ifeportal.audit import Actor
from ifeportal.formatting import quantity
from ifeportal.live.feed import current_rev
from ifeportal.operations.models import Operation
from ifeportal.operations.pages.columns import OPERATIONS, ActivityRow
from ifeportal.operations.queries import set_positions
from ifeportal.tables.query import paginate, parse_query, select_rows
from ifeportal.web.responses import render_page

COPIES_SHOWN: Final = 5  # the newest


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def pick(request: HttpRequest, airline: str, campaign: str) -> HttpResponse:
    """Show the items that can be added to a campaign, or add some. Raises Http404, PermissionDenied."""
    drafts = Draft.objects.select_related("airline")
    draft = role_or_403(drafts, request.user, Role.MANAGER, airline__name=airline, name=campaign)
    if request.method == "POST":
        return _add(request, draft)
    rev = current_rev()  # before the rows
    choice = parse_query(request.GET, PICKER)
    wanted = {name: value for name, value in wanted_filters(request.GET).items() if name == "kind"}
    library = LibraryItem.objects.filter(airline=draft.airline)
    rows = select_rows(filter_items(library, wanted), PICKER, choice, "-pk").select_related("airline", "added_by")
    page = paginate(rows, choice.page, choice.size)
    names = DraftNames.of(draft)
    copies = list(copies_into(draft).select_related("airline", "user").order_by("-pk")[:COPIES_SHOWN])
    set_positions(copies)
    return render_page(
        request,
        "library/pick.html",
        {
            "rev": rev,
            "draft": draft,
            "draft_page": draft_page(draft),
            "choice": choice,
            "wanted": wanted,
            "is_filtered": choice.is_filtered or bool(wanted),
            "query": kept_query(request.GET),
            "selected": frozenset(request.GET.getlist("item")),
            "table": PICKER,
            "page": page,
            "rows": [LibraryRow(item, presence=names.presence(item)) for item in page],
            "kinds": kinds_of(library),
            "copies": [ActivityRow.of(row, None) for row in copies],
            "copies_table": OPERATIONS,
            "newest": Operation.objects.filter(airline=draft.airline)
            .order_by("-pk")
            .values_list("pk", flat=True)
            .first(),
            "most": MOST_ITEMS,
        },
    )


def _add(request: HttpRequest, draft: Draft) -> HttpResponse:
    ids = {int(text) for text in request.POST.getlist("item") if text.isascii() and text.isdecimal() and len(text) < 19}
    items = list(
        LibraryItem.objects.filter(airline=draft.airline, pk__in=sorted(ids)[: MOST_ITEMS + 1]).order_by("name")
    )
    try:
        operation = request_copies(Actor.of(request), draft, items)
    except RequestRefused as error:
        messages.error(request, str(error))
    else:
        number = quantity(operation.checkpoint["items_total"], "item")
        messages.success(request, f"Adding {number} to {draft.name}. You can close this page.")
    query = kept_query(QueryDict(request.POST.get("query", "")[:2_000]))
    address = reverse("library-pick", args=[draft.airline.name, draft.name])
    return redirect(f"{address}?{query}" if query else address)
