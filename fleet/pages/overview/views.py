"""View of the fleet page."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet.models import Anomaly
from fleet.pages.overview import columns, exports, queries
from ifeportal.exports.responses import export_response
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables import query
from ifeportal.web.responses import compressed, render_page


@require_safe
@compressed
def fleet(request: HttpRequest) -> HttpResponseBase:
    """Show a card for each airline that the user may see, or export a table."""
    rev = current_rev()
    airlines = Airline.objects.visible_to(request.user)
    choice = query.parse_query(request.GET, columns.AIRLINES)
    cards = queries.cards(airlines, choice, timezone.now())
    strays = Anomaly.objects.visible_to(request.user).filter(airline=None)
    file = export_response(request, exports.fleet_tables(cards, strays))
    if file is not None:
        return file
    return render_page(request, "fleet/overview.html", {"rev": rev, **vars(queries.load(choice, cards, strays))})
