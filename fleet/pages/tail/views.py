"""View of the tail page."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet.pages.tail import exports, queries
from fleet.pages.tail.page import load
from ifeportal.access import visible_or_404
from ifeportal.exports.responses import export_response
from ifeportal.web.responses import compressed, render_page


@require_safe
@compressed
def tail(request: HttpRequest, airline: str, tail: str) -> HttpResponseBase:
    """Show a tail: its loads, current transfers, items of the chosen load and timeline; or export a table."""
    now = timezone.now()
    row = visible_or_404(queries.tails_for(request.user), request.user, airline__name=airline, name=tail)
    loads = queries.loads_of(row)
    name = request.GET.get("campaign", "")
    chosen = next((each for each in loads if each.campaign.name == name), loads[0] if loads else None)
    file = export_response(request, exports.tail_tables(row, chosen, request.GET))
    if file is not None:
        return file
    page = load(row, loads, chosen, request.GET, now)
    return render_page(request, "fleet/tail.html", {"rev": getattr(row, "rev") or 0, **vars(page)})  # noqa: B009
