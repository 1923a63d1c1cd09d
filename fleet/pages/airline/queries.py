"""Totals and campaigns of the airline page, in a number of queries that does not grow with the rows.

Reads the database only, for airlines that the caller selected with `visible_to`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import F, OuterRef, QuerySet, Subquery

from campaigns.models import Campaign
from fleet.stats import rollup
from fleet.stats.rollup import Rollup
from ifeportal.access import Role, sees_every_airline
from ifeportal.models import Airline, Membership

CAMPAIGNS_SHOWN: Final = 12


@dataclass(frozen=True)
class AirlineFacts:
    """Facts about an airline: the highest ids of its tails, loads and campaigns, and the user's role."""

    newest_tail: int
    newest_load: int
    newest_campaign: int
    role: str


def airline_facts(airline: Airline, user: AbstractUser | AnonymousUser) -> AirlineFacts:
    """Load the facts in one query."""
    campaigns = Campaign.objects.filter(airline=OuterRef("pk")).order_by("-pk")
    memberships = Membership.objects.filter(user=user.pk, airline=OuterRef("pk"))
    newest_tail, newest_load, newest_campaign, role = (
        Airline.objects.filter(pk=airline.pk)
        .values_list(
            "totals__newest_tail",
            "totals__newest_load",
            Subquery(campaigns.values("pk")[:1]),
            Subquery(memberships.values("role")[:1]),
        )
        .get()
    )
    if sees_every_airline(user):
        role = Role.MANAGER.value
    return AirlineFacts(newest_tail or 0, newest_load or 0, newest_campaign or 0, role or "")


@dataclass(frozen=True)
class CampaignTotals:
    """A campaign and the totals of its loads."""

    campaign: Campaign
    sums: Rollup


def newest_campaigns(airline: Airline, limit: int | None) -> list[CampaignTotals]:
    """Return the airline's campaigns, latest exhibition first, those without a date before them; one query."""
    by_date = (F("exhibition_starts").desc(nulls_first=True), "-name")
    return [_with_totals(airline, row) for row in _campaigns(airline).order_by(*by_date)[:limit]]


def campaign_of(airline: Airline, name: str) -> CampaignTotals | None:
    """Return the campaign of that name, or None."""
    row = _campaigns(airline).filter(name=name).first() if name else None
    return _with_totals(airline, row) if row else None


def _campaigns(airline: Airline) -> QuerySet[Campaign]:
    return Campaign.objects.filter(airline=airline).select_related("totals").defer("extra")


def _with_totals(airline: Airline, row: Campaign) -> CampaignTotals:
    row.airline = airline
    return CampaignTotals(row, rollup.read_rollup(row))
