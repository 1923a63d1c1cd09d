"""Views of the campaign page and of the data of its heat map."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet.history import point_in_time
from fleet.pages.campaign import exports, heatmap, history
from fleet.pages.campaign.page import load, load_past, parse_request
from ifeportal.access import visible_or_404
from ifeportal.exports.responses import export_response
from ifeportal.live.feed import current_rev
from ifeportal.web.responses import compressed, render_page


@require_safe
@compressed
def campaign(request: HttpRequest, airline: str, campaign: str) -> HttpResponseBase:
    """Show a campaign, at an earlier time if `at` is given; or export a table."""
    rev = current_rev()
    row = _campaign(request, airline, campaign)
    file = export_response(request, exports.campaign_tables(row, request.GET))
    if file is not None:
        return file
    at = _moment(request)
    if at is not None:
        past = load_past(row, at, request.GET, timezone.now())
        return render_page(request, "fleet/campaign_at.html", vars(past))
    page = load(row, parse_request(request), request.user, timezone.now())
    return render_page(request, "fleet/campaign.html", {"rev": rev, **vars(page)})


@compressed
@require_safe
def matrix_json(request: HttpRequest, airline: str, campaign: str) -> HttpResponse:
    """Return the heat map as JSON, at an earlier time if `at` is given; 304 if the ETag matches."""
    row = _campaign(request, airline, campaign)
    now = timezone.now()
    at = history.parse_time(request.GET.get("at", ""), now)
    heat_map = (
        heatmap.load_heat_map(row) if at is None else heatmap.heat_map_at(row, point_in_time.snapshot_at(row, at, now))
    )
    body = json.dumps(heatmap.as_json(heat_map), separators=(",", ":")).encode()
    etag = quote_etag(hashlib.sha256(body).hexdigest()[:32])
    response = HttpResponse(body, content_type="application/json", headers={"ETag": etag, "Cache-Control": "no-store"})
    return get_conditional_response(request, etag=etag, response=response) or response


def _campaign(request: HttpRequest, airline: str, campaign: str) -> Campaign:
    rows = Campaign.objects.select_related("airline__totals", "totals")
    return visible_or_404(rows, request.user, airline__name=airline, name=campaign)


def _moment(request: HttpRequest) -> datetime | None:
    """Return the requested time. If it is invalid, add a warning and return None."""
    text = request.GET.get("at")
    at = history.parse_time(text, timezone.now()) if text is not None else None
    if text and at is None:
        messages.warning(request, "The time in the address is invalid or in the future. Showing the current state.")
    return at
