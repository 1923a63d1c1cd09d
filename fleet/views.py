"""The pages of the fleet. Each view reaches its row by `visible_or_404`, has the page gathered, and answers.

`current_rev()` is read before any row, so that the page's socket asks for everything later than what it shows.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from fleet import listing, matrix, pages, rollup
from fleet.figures import iso
from fleet.models import Anomaly, Load, Tail, Transfer
from ifeportal.access import visible_or_404
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline


def answer(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page with what every page has: the moment it was made."""
    return render(request, template, {"now": timezone.now(), **context})


def _freshness(airline: Airline) -> dict[str, Any]:
    """When the airline was last read, for its badge and for the note above the page."""
    fresh = pages.freshness([airline], timezone.now())[airline.name]
    return {"freshness": fresh, "away": pages.away([fresh]), "single": True}


@never_cache
@require_safe
def fleet(request: HttpRequest) -> HttpResponse:
    """Every airline the user may see."""
    rev = current_rev()
    airlines = Airline.objects.visible_to(request.user)
    choice = listing.choice_of(request.GET, pages.FLEET_COLUMNS)
    cards = pages.fleet_cards(airlines, choice, timezone.now())
    strays = Anomaly.objects.visible_to(request.user).filter(airline=None)
    return answer(
        request,
        "fleet/fleet.html",
        {
            "rev": rev,
            "choice": choice,
            "cards": cards,
            "away": pages.away([card.freshness for card in cards]),
            "newest": max((card.airline.pk for card in cards), default=0),
            "anomalies": pages.open_anomalies(strays),
        },
    )


@never_cache
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
            **_freshness(row),
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


@never_cache
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
            **_freshness(row.airline),
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


@never_cache
@require_safe
def campaign(request: HttpRequest, airline: str, campaign: str) -> HttpResponse:
    """A campaign: its manifest, a row a tail, and tails by items."""
    rev = current_rev()
    rows = Campaign.objects.select_related("airline")
    row = visible_or_404(rows, request.user, airline__name=airline, name=campaign)
    choice = listing.choice_of(request.GET, matrix.CAMPAIGN_COLUMNS)
    page = matrix.load_page(row, choice)
    names = matrix.item_names(row, request.GET.get("items", "1"))
    columns = matrix.item_columns(row, list(names.object_list))
    return answer(
        request,
        "fleet/campaign.html",
        {
            "rev": rev,
            "airline": row.airline,
            "campaign": row,
            "sums": pages.sums_of(rollup.campaigns(Campaign.objects.filter(pk=row.pk))),
            **_freshness(row.airline),
            "choice": choice,
            "page": page,
            "names": names,
            "columns": columns,
            "matrix": matrix.matrix(list(page.object_list), columns),
            "newest_load": pages.newest(Load.objects.filter(campaign=row)),
            "newest_transfer": pages.newest(Transfer.objects.filter(load__campaign=row)),
        },
    )


@never_cache
@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """For open pages: the server's time, and when the buckets were last read for the airlines of the user."""
    airlines = Airline.objects.visible_to(request.user)
    if "airline" in request.GET:
        airlines = airlines.filter(name=request.GET["airline"])
    now = timezone.now()
    found = pages.freshness(airlines, now)
    read = {
        name: {
            "read_at": fresh.read_at and iso(fresh.read_at),
            "stale": fresh.stale,
            "next_at": fresh.next_at and iso(fresh.next_at),
        }
        for name, fresh in found.items()
    }
    away = pages.away(list(found.values()))
    together = {
        "airlines": away.airlines,
        "stale": away.stale,
        "stale_count": away.stale_count,
        "read_at": away.read_at and iso(away.read_at),
    }
    return JsonResponse({"now": iso(now), "airlines": read, "away": together})
