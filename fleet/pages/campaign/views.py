"""The page of a campaign, at present and at an earlier time, and the data of its heat map."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe

from campaigns.models import Campaign, Draft
from fleet.history import point_in_time
from fleet.models import Load, Transfer
from fleet.pages import freshness
from fleet.pages.campaign import columns, exports, heatmap, history, queries
from fleet.state import precedence
from fleet.stats import rollup
from ifeportal.access import Role, visible_or_404
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables import query
from ifeportal.web.responses import compressed, export_response, render_page


@require_safe
def campaign(request: HttpRequest, airline: str, campaign: str) -> HttpResponseBase:
    """A campaign: its manifest, tails by items, a row a tail, a row an item; with `at` as it was at that moment."""
    rev = current_rev()
    row = _campaign(request, airline, campaign)
    file = export_response(request, exports.campaign_tables(row, request.GET))
    if file is not None:
        return file
    at = _moment(request)
    if at is not None:
        return _as_it_was(request, row, at)
    choice = query.parse_query(request.GET, columns.LOADS, precedence.CHOICES)
    page = queries.load_page(row, choice)
    names = queries.item_names(row, request.GET.get("items", "1"))
    items = queries.item_columns(row, list(names.object_list))
    sums = queries.totals_of(rollup.campaigns(Campaign.objects.filter(pk=row.pk)))
    not_begun = queries.not_started(row)
    as_table = "table" in request.GET
    # A script that fetches the page has no use of what stands there for want of scripts.
    with_cells = as_table or request.headers.get("Sec-Fetch-Dest") != "empty"
    return render_page(
        request,
        "fleet/campaign.html",
        {
            "rev": rev,
            "airline": row.airline,
            "campaign": row,
            "sums": sums,
            "not_begun": not_begun,
            "in_service": sums.tails + not_begun,
            **freshness.freshness_context(row.airline),
            "run": _run(request, row),
            "choice": choice,
            "page": page,
            "names": names,
            "loads_table": columns.LOADS,
            "items_table": columns.ITEMS,
            "columns": items,
            "matrix": queries.matrix(list(page.object_list), items if with_cells else []),
            "as_table": as_table,
            "with_cells": with_cells,
            "newest_load": queries.newest_id(Load.objects.filter(campaign=row)),
            "newest_transfer": queries.newest_id(Transfer.objects.filter(load__campaign=row)),
        },
    )


@compressed
@require_safe
def matrix_json(request: HttpRequest, airline: str, campaign: str) -> HttpResponse:
    """The picture of the campaign for the page's script, with `at` as it was; 304 for a script that has it."""
    row = _campaign(request, airline, campaign)
    now = timezone.now()
    at = history.parse_time(request.GET.get("at", ""), now)
    drawn = (
        heatmap.load_heat_map(row) if at is None else heatmap.heat_map_at(row, point_in_time.snapshot_at(row, at, now))
    )
    body = json.dumps(heatmap.as_json(drawn), separators=(",", ":")).encode()
    etag = quote_etag(hashlib.sha256(body).hexdigest()[:32])
    response = HttpResponse(body, content_type="application/json", headers={"ETag": etag, "Cache-Control": "no-store"})
    return get_conditional_response(request, etag=etag, response=response) or response


def _run(request: HttpRequest, row: Campaign) -> str:
    """Where the campaign is run: its draft in the admin, or a new one of its name; empty for who may not.

    Staff with rights of their own find it in the admin: to ask for these here would cost every page two queries.
    """
    user = request.user
    if user.is_staff and not user.is_superuser:
        return ""
    if not Airline.objects.with_role(user, Role.MANAGER).filter(pk=row.airline_id).exists():
        return ""
    draft = Draft.objects.filter(airline=row.airline_id, name=row.name).values_list("pk", flat=True).first()
    if draft is not None:
        return reverse("admin:campaigns_draft_change", args=[draft])
    return f"{reverse('admin:campaigns_draft_add')}?{urlencode({'airline': row.airline_id, 'name': row.name})}"


def _campaign(request: HttpRequest, airline: str, campaign: str) -> Campaign:
    rows = Campaign.objects.select_related("airline")
    return visible_or_404(rows, request.user, airline__name=airline, name=campaign)


def _moment(request: HttpRequest) -> datetime | None:
    """The earlier moment asked for; what is none is said, and the page shows the present."""
    asked = request.GET.get("at")
    at = history.parse_time(asked, timezone.now()) if asked is not None else None
    if asked and at is None:
        messages.warning(request, "The address asks for a moment that is none or has not passed. Shown is the present.")
    return at


def _as_it_was(request: HttpRequest, row: Campaign, at: datetime) -> HttpResponse:
    now = timezone.now()
    found = history.in_service(row, point_in_time.snapshot_at(row, at, now))
    choice = query.parse_query(request.GET, columns.PAST_LOADS, precedence.CHOICES)
    context: dict[str, Any] = {
        "airline": row.airline,
        "campaign": row,
        "loads_table": columns.PAST_LOADS,
        "items_table": columns.PAST_ITEMS,
        "then": found,
        "at": history.format_time(at),
        "steps": history.steps(at, now),
        "sums": history.snapshot_totals(found),
        "choice": choice,
        "page": history.load_page(found, choice),
        "items": history.item_page(row, found, request.GET.get("items", "1")),
    }
    return render_page(request, "fleet/campaign_at.html", context)
