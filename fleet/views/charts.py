"""The numbers of the charts, as JSON for the pages' scripts or as a file for people.

A browser keeps them for some seconds, and is told when they are still the same.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet import charts
from fleet.models import Tail
from ifeportal.access import visible_or_404
from ifeportal.models import Airline
from ifeportal.tables.export import export

KEPT_FOR: Final = 10  # seconds, by the browser


@require_safe
def fleet_moved(request: HttpRequest) -> HttpResponseBase:
    """What arrived on all aircraft the user may see."""
    return _answer(request, charts.moved_chart(list(Airline.objects.visible_to(request.user)), timezone.now()))


@require_safe
def airline_moved(request: HttpRequest, airline: str) -> HttpResponseBase:
    """What arrived on the aircraft of an airline."""
    row = visible_or_404(Airline.objects.all(), request.user, name=airline)
    return _answer(request, charts.moved_chart([row], timezone.now()))


@require_safe
def tail_rate(request: HttpRequest, airline: str, tail: str) -> HttpResponseBase:
    """What arrived on an aircraft."""
    row = visible_or_404(Tail.objects.select_related("airline"), request.user, airline__name=airline, name=tail)
    return _answer(request, charts.rate_chart(row, timezone.now()))


@require_safe
def campaign_readiness(request: HttpRequest, airline: str, campaign: str) -> HttpResponseBase:
    """How many tails hold a campaign, and will."""
    rows = Campaign.objects.select_related("airline")
    row = visible_or_404(rows, request.user, airline__name=airline, name=campaign)
    return _answer(request, charts.readiness_chart(row, timezone.now()))


def _answer(request: HttpRequest, chart: charts.Chart) -> HttpResponseBase:
    file = export(request, chart.table)
    if file is not None:
        return file
    response = JsonResponse(chart.data)
    etag = f'"{sha256(response.content).hexdigest()[:32]}"'
    response["ETag"] = etag
    patch_cache_control(response, private=True, max_age=KEPT_FOR)
    found = get_conditional_response(request, etag=etag, response=response)
    return response if found is None else found
