"""Totals and campaigns of the airline page, in a number of queries that does not grow with the rows.

Reads the database only, for airlines that the caller selected with `visible_to`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery

from campaigns.models import Campaign
from fleet.models import Tail
from fleet.stats import rollup
from fleet.stats.airline_totals import READY
from fleet.stats.rollup import Rollup
from ifeportal.access import Role, sees_every_airline
from ifeportal.models import Airline, Membership

CAMPAIGNS_SHOWN: Final = 12


def airlines(rows: QuerySet[Airline]) -> QuerySet[Airline]:
    """Annotate the airlines with their totals and the highest ids of their tails and loads."""
    annotated: QuerySet[Airline] = rollup.airlines(rows).annotate(
        newest_tail=Max("tails__pk"), newest_load=Max("tails__loads__pk")
    )
    return annotated


@dataclass(frozen=True)
class AirlineFacts:
    """Facts about an airline: tails that completed all their loads, highest campaign id, and the user's role."""

    ready: int
    newest_campaign: int
    role: str


def airline_facts(airline: Airline, user: AbstractUser | AnonymousUser) -> AirlineFacts:
    """Load the facts in one query."""
    ready = Tail.objects.filter(READY, airline=OuterRef("pk")).order_by().values("airline")
    campaigns = Campaign.objects.filter(airline=OuterRef("pk")).order_by("-pk")
    memberships = Membership.objects.filter(user=user.pk, airline=OuterRef("pk"))
    ready_count, newest_campaign, role = (
        Airline.objects.filter(pk=airline.pk)
        .values_list(
            Subquery(ready.annotate(number=Count("pk")).values("number")),
            Subquery(campaigns.values("pk")[:1]),
            Subquery(memberships.values("role")[:1]),
        )
        .get()
    )
    if sees_every_airline(user):
        role = Role.MANAGER.value
    return AirlineFacts(ready_count or 0, newest_campaign or 0, role or "")


@dataclass(frozen=True)
class CampaignTotals:
    """A campaign and the totals of its loads."""

    campaign: Campaign
    sums: Rollup


def newest_campaigns(airline: Airline, limit: int | None) -> list[CampaignTotals]:
    """Return the airline's campaigns, latest exhibition first, those without a date before them; one query."""
    by_date = (F("exhibition_starts").desc(nulls_first=True), "-name")
    shown = airline.campaigns.order_by(*by_date).values("pk")[:limit]
    return [CampaignTotals(row, rollup.read_rollup(row)) for row in _campaigns(shown).order_by(*by_date)]


def campaign_of(airline: Airline, name: str) -> CampaignTotals | None:
    """Return the campaign of that name, or None."""
    row = _campaigns(airline.campaigns.filter(name=name).values("pk")).first() if name else None
    return CampaignTotals(row, rollup.read_rollup(row)) if row else None


def _campaigns(keys: QuerySet[Campaign, Any]) -> QuerySet[Campaign]:
    """Annotate only these campaigns with totals, so that a page of a few does not add up all campaigns."""
    return rollup.campaigns(Campaign.objects.filter(pk__in=keys))
