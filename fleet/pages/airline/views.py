"""The page of an airline."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet.pages.airline import exports
from fleet.pages.airline.page import load, parse_query
from fleet.stats import rollup
from ifeportal.exports.responses import export_response
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.web.responses import compressed, render_page


@require_safe
@compressed
def airline(request: HttpRequest, airline: str) -> HttpResponseBase:
    """Show the tails and campaigns of an airline, or export one of these tables."""
    rev = current_rev()
    row = get_object_or_404(rollup.airlines(Airline.objects.visible_to(request.user)), name=airline)
    wanted = parse_query(row, request.GET)
    file = export_response(request, exports.airline_tables(row, wanted.tails))
    if file is not None:
        return file
    page = load(row, wanted, request.user, timezone.now())
    return render_page(request, "fleet/airline.html", {"rev": rev, **vars(page)})
