"""Flags what is loading but has not moved for a while, by the portal's own clock of changes seen.

May touch transfers and loads, and the feed. One conditional update a table, so that what moves at that moment wins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from fleet import rollup
from fleet.applying import load_published, tail_published, transfer_published
from fleet.models import Load, Status, Tail, Transfer
from fleet.rates import STALLED_AFTER
from ifeportal.live.feed import publish
from ifeportal.models import Airline

AT_ONCE: Final = 500  # rows of a table flagged by one call; the next call takes the next


def flag_stalled(airline: Airline, now: datetime) -> set[str]:
    """Flag and publish what has stalled; the names of the campaigns concerned. Writes nothing if nothing has."""
    still: dict[str, Any] = {"status": Status.LOADING, "stalled": False, "moved_at__lte": now - STALLED_AFTER}
    items = list(_of_items(airline).filter(**still).values_list("pk", flat=True)[:AT_ONCE])
    loads = list(_of_loads(airline).filter(**still).values_list("pk", flat=True)[:AT_ONCE])
    if not (items or loads):
        return set()
    with transaction.atomic():
        Transfer.objects.filter(pk__in=items, **still).update(stalled=True, rate_bps=0)
        Load.objects.filter(pk__in=loads, **still).update(stalled=True, rate_bps=0)
        return _publish(
            list(
                _of_items(airline)
                .filter(pk__in=items, stalled=True)
                .select_related("load__tail__airline", "load__campaign")
            ),
            list(_of_loads(airline).filter(pk__in=loads, stalled=True).select_related("tail__airline", "campaign")),
        )


def _of_items(airline: Airline) -> QuerySet[Transfer]:
    return Transfer.objects.filter(load__tail__airline=airline)


def _of_loads(airline: Airline) -> QuerySet[Load]:
    return Load.objects.filter(tail__airline=airline)


def _publish(items: list[Transfer], loads: list[Load]) -> set[str]:
    tails = rollup.tails(Tail.objects.filter(pk__in={row.tail_id for row in loads}))
    publish(
        [
            *map(transfer_published, items),
            *map(load_published, loads),
            *map(tail_published, tails),
        ]
    )
    return {row.campaign.name for row in loads}
