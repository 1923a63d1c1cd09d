"""Airlines on the first page of the admin: whether their buckets are read, and links to their settings."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from fleet.pages.freshness import Freshness, load_freshness
from ifeportal import formatting
from ifeportal.access import Role
from ifeportal.admin.overview import Count, Entry, Link, Section
from ifeportal.models import Airline

SHOWN: Final = 6  # airlines; the list has the others
READ: Final = 500  # airlines whose polls are looked at, by name


def health(fresh: Freshness, now: datetime) -> tuple[str, str, str]:
    """Return the state of an airline's polls, its shape, and when the buckets were last read. Pure."""
    read = f"Last read {formatting.age(fresh.read_at, now)}."
    if fresh.failures:
        return "Polls fail", "failed", f"{read} Failed polls in a row: {fresh.failures:,}."
    if fresh.read_at is None:
        return "Not read yet", "pending", "The pacemaker polls it when its turn comes."
    if fresh.stale:
        return "Overdue", "stale", f"{read} The next poll is overdue."
    after = f" Next poll {formatting.until(fresh.next_at, now)}." if fresh.next_at else ""
    return "Up to date", "complete", read + after


def section(request: HttpRequest) -> Section | None:
    """Return the airlines that the user manages, worst first; None if there can be none. Two statements."""
    its = admin.site.get_model_admin(Airline)
    if request.user.is_staff and not its.has_view_permission(request):
        return None
    airlines = list(Airline.objects.with_role(request.user, Role.MANAGER).order_by("name").only("name", "title")[:READ])
    now = timezone.now()
    found = load_freshness(airlines, now)
    ranked = sorted(airlines, key=lambda airline: _rank(found[airline.name]))
    problems = {name: sum(_rank(fresh) == rank for fresh in found.values()) for rank, name in enumerate(RANKS)}
    may_add = its.has_add_permission(request)
    return Section(
        title="Airlines",
        empty="There are no airlines yet. The poller adds one when it finds a key that begins with its name.",
        entries=[_entry(request, airline, found[airline.name], now) for airline in ranked[:SHOWN]],
        counts=[
            Count("Airlines", len(airlines)),
            Count("Polls fail", problems["failing"], problem=True),
            Count("Overdue", problems["overdue"], problem=True),
            Count("Not read yet", problems["unread"]),
        ],
        actions=[Link("Add airline", reverse("admin:ifeportal_airline_add"))] if may_add else [],
        more=_all_airlines(len(airlines)) if its.has_view_permission(request) else None,
    )


RANKS: Final = ("failing", "overdue", "unread", "fresh")


def _rank(fresh: Freshness) -> int:
    if fresh.failures:
        return 0
    if fresh.read_at is None:
        return 2
    return 1 if fresh.stale else 3


def _all_airlines(count: int) -> Link | None:
    return Link("All airlines", reverse("admin:ifeportal_airline_changelist")) if count else None


def _entry(request: HttpRequest, airline: Airline, fresh: Freshness, now: datetime) -> Entry:
    state, shape, detail = health(fresh, now)
    settings = reverse("airline-settings", args=[airline.name])
    return Entry(str(airline), airline.get_absolute_url(), state, shape, detail, [Link("Settings", settings)])
