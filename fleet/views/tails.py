"""The page of an aircraft."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from fleet import listing, pages, rollup
from fleet.models import Anomaly, Tail, Transfer
from fleet.views.answers import answer, freshness_of
from ifeportal.access import visible_or_404
from ifeportal.live.feed import current_rev


@require_safe
def tail(request: HttpRequest, airline: str, tail: str) -> HttpResponse:
    """An aircraft: its loads, what moves now, and every item of the chosen load."""
    rev = current_rev()
    row = visible_or_404(Tail.objects.select_related("airline"), request.user, airline__name=airline, name=tail)
    loads = pages.loads_of(row)
    wanted = request.GET.get("campaign", "")
    load = next((load for load in loads if load.campaign.name == wanted), loads[0] if loads else None)
    choice = listing.choice_of(request.GET, pages.ITEM_COLUMNS)
    page, rows = pages.item_page(load, choice) if load else (None, [])
    return answer(
        request,
        "fleet/tail.html",
        {
            "rev": rev,
            "airline": row.airline,
            "tail": row,
            "sums": pages.sums_of(rollup.tails(Tail.objects.filter(pk=row.pk))),
            **freshness_of(row.airline),
            "loads": loads,
            "load": load,
            "loading": pages.loading_now(row),
            "choice": choice,
            "counts": pages.state_counts(Transfer.objects.filter(load=load)),
            "page": page,
            "rows": rows,
            "anomalies": pages.open_anomalies(
                Anomaly.objects.filter(airline=row.airline, key__startswith=f"{row.airline.name}/{row.name}/")
            ),
            "newest_load": max((load.pk for load in loads), default=0),
            "newest_transfer": pages.newest(Transfer.objects.filter(load__tail=row)),
        },
    )
