"""Template tag for the admin page of a draft: progress of its campaign by tail. Reads the database only."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.db.models import Count, Q
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
    tails = Tail.objects.filter(airline=airline, duty=ServiceStatus.ACTIVE).count()
    loads = Load.objects.filter(campaign=campaign, tail__duty=ServiceStatus.ACTIVE)
    counts = {f"{word}": Count("pk", filter=Q(status=word)) for word in Status.values}
    counted = loads.aggregate(started=Count("pk"), **counts)
    rows = list(loads.select_related("tail").order_by("tail__name")[:SHOWN])
    for load in rows:
        load.tail.airline = airline
    parts = [f"{counted[word]:,} {Status(word).label}" for word in Status.values if counted[word]]
    parts.append(f"{max(tails - counted['started'], 0):,} not started")
    return {
        "campaign": campaign,
        "summary": f"Of {tails:,} tails in service: {', '.join(parts)}.",
        "rows": [(load, _version(load, campaign)) for load in rows],
        "more": max(counted["started"] - SHOWN, 0),
        "now": timezone.now(),
    }


def _version(load: Load, campaign: Campaign) -> str:
    """Return the manifest version that the figures of the load are based on."""
    if load.manifest_etag != campaign.manifest_etag:
        return "earlier version"
    return "unnumbered" if campaign.version is None else str(campaign.version)
