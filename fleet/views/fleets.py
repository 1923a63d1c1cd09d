"""The page of all airlines, and how fresh what open pages show is."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from fleet import overview, tables
from fleet.models import Anomaly
from fleet.pages import anomalies
from fleet.pages.freshness import load_freshness, store_outage
from ifeportal.formatting import iso
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables import query
from ifeportal.web.responses import answer, compressed, file_of


@require_safe
@compressed
def fleet(request: HttpRequest) -> HttpResponseBase:
    """Every airline the user may see; or these as a file."""
    rev = current_rev()
    airlines = Airline.objects.visible_to(request.user)
    choice = query.choice_of(request.GET, overview.COLUMNS)
    cards = overview.cards(airlines, choice, timezone.now())
    strays = Anomaly.objects.visible_to(request.user).filter(airline=None)
    file = file_of(request, tables.of_fleet(cards, strays))
    if file is not None:
        return file
    return answer(
        request,
        "fleet/overview.html",
        {
            "rev": rev,
            "choice": choice,
            "cards": cards,
            "away": store_outage([card.freshness for card in cards]),
            "newest": max((card.airline.pk for card in cards), default=0),
            "anomalies": anomalies.open_anomalies(strays),
        },
    )


@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """For open pages: the server's time, and when the buckets were last read for the airlines of the user."""
    airlines = Airline.objects.visible_to(request.user)
    if "airline" in request.GET:
        airlines = airlines.filter(name=request.GET["airline"])
    now = timezone.now()
    found = load_freshness(airlines, now)
    read = {
        name: {
            "read_at": fresh.read_at and iso(fresh.read_at),
            "stale": fresh.stale,
            "next_at": fresh.next_at and iso(fresh.next_at),
        }
        for name, fresh in found.items()
    }
    away = store_outage(list(found.values()))
    together = {
        "airlines": away.airlines,
        "stale": away.stale,
        "stale_count": away.stale_count,
        "read_at": away.read_at and iso(away.read_at),
    }
    return JsonResponse({"now": iso(now), "airlines": read, "away": together})
