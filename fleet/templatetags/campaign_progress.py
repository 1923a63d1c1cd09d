"""Template tags for the admin pages of drafts: progress of a campaign by tail. Reads the database only."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail
from ifeportal.models import Airline

register = template.Library()
SHOWN: Final = 100


@register.inclusion_tag("fleet/campaign/progress.html")
def campaign_progress(airline: Airline, name: str) -> dict[str, Any]:
    """Count the tails in service by status, and list them with the manifest version of their figures."""
    campaign = Campaign.objects.filter(airline=airline, name=name).select_related("airline").first()
    if campaign is None:
        return {"campaign": None}
    loads = _loads(campaign)
    summary, started = _summary(airline, loads)
    rows = list(loads.select_related("tail").order_by("tail__name")[:SHOWN])
    for load in rows:
        load.tail.airline = airline
    return {
        "campaign": campaign,
        "summary": summary,
        "rows": [(load, _version(load, campaign)) for load in rows],
        "more": max(started - SHOWN, 0),
        "now": timezone.now(),
    }


@register.simple_tag
def campaign_audience(airline: Airline, name: str) -> str:
    """Return how many tails of the airline are in service, and how far each has loaded the campaign."""
    campaign = Campaign.objects.filter(airline=airline, name=name).first()
    loads = _loads(campaign) if campaign else Load.objects.none()
    return _summary(airline, loads)[0]


def _loads(campaign: Campaign) -> QuerySet[Load]:
    return Load.objects.filter(campaign=campaign, tail__duty=ServiceStatus.ACTIVE)


def _summary(airline: Airline, loads: QuerySet[Load]) -> tuple[str, int]:
    """Return the tails in service by status as a sentence, and the number of tails that started the campaign."""
    tails = Tail.objects.filter(airline=airline, duty=ServiceStatus.ACTIVE).count()
    if not tails:
        return f"{airline} has no tails in service.", 0
    counts = {f"{word}": Count("pk", filter=Q(status=word)) for word in Status.values}
    counted = loads.aggregate(started=Count("pk"), **counts)
    parts = [f"{counted[word]:,} {Status(word).label}" for word in Status.values if counted[word]]
    parts.append(f"{max(tails - counted['started'], 0):,} not started")
    return f"Of {tails:,} tails in service: {', '.join(parts)}.", counted["started"]


def _version(load: Load, campaign: Campaign) -> str:
    """Return the manifest version that the figures of the load are based on."""
    if load.manifest_etag != campaign.manifest_etag:
        return "earlier version"
    return "unnumbered" if campaign.version is None else str(campaign.version)
