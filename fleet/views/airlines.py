"""The page of an airline."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet import listing, pages, rollup
from fleet.models import Anomaly, Load, Tail
from fleet.views.answers import answer, freshness_of
from ifeportal.access import visible_or_404
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline


@require_safe
def airline(request: HttpRequest, airline: str) -> HttpResponse:
    """One row a tail, and the airline's campaigns."""
    rev = current_rev()
    row = visible_or_404(Airline.objects.all(), request.user, name=airline)
    choice = listing.choice_of(request.GET, pages.AIRLINE_COLUMNS)
    page, rows = pages.tail_page(row, choice)
    every = "all" in request.GET
    campaigns = pages.newest_campaigns(row, None if every else pages.FEW + 1)
    return answer(
        request,
        "fleet/airline.html",
        {
            "rev": rev,
            "airline": row,
            "sums": pages.sums_of(rollup.airlines(Airline.objects.filter(pk=row.pk))),
            **freshness_of(row),
            "choice": choice,
            "page": page,
            "rows": rows,
            "campaigns": campaigns if every else campaigns[: pages.FEW],
            "more_campaigns": len(campaigns) > pages.FEW and not every,
            "newest_tail": pages.newest(Tail.objects.filter(airline=row)),
            "newest_load": pages.newest(Load.objects.filter(tail__airline=row)),
            "newest_campaign": pages.newest(Campaign.objects.filter(airline=row)),
            "anomalies": pages.open_anomalies(Anomaly.objects.filter(airline=row)),
        },
    )
