"""What every page is answered with. May touch the database only to see when the buckets were read."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from fleet import pages
from ifeportal.models import Airline


def answer(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page with what every page has: the moment it was made."""
    return render(request, template, {"now": timezone.now(), **context})


def freshness_of(airline: Airline) -> dict[str, Any]:
    """When the airline was last read, for its badge and for the note above the page."""
    fresh = pages.freshness([airline], timezone.now())[airline.name]
    return {"freshness": fresh, "away": pages.away([fresh]), "single": True}
