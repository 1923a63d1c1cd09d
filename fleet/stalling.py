"""Notes what has not moved for a while, by the portal's own clock of changes seen: no rate any more, then stalled.

May touch transfers and loads, and the feed. Conditional updates, so that what moves at that moment wins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from fleet import rollup
from fleet.applying import load_published, tail_published, transfer_published
from fleet.models import Load, Status, Tail, Transfer
from fleet.rates import RATE_HOLDS, STALLED_AFTER
from ifeportal.live.feed import publish
from ifeportal.models import Airline

AT_ONCE: Final = 500  # rows of a table flagged by one call; the next call takes the next


def note_standstill(airline: Airline, now: datetime, steady_since: datetime | None) -> set[str]:
    """Forget the rate of what has not moved for `RATE_HOLDS`, flag what has not for `STALLED_AFTER`, and publish both.

    `steady_since`: since when the airline has been polled without a long gap; None: it has not, so nothing is known to
    stand still. The names of the campaigns concerned. Writes nothing if nothing stands still that did not before.
    """
    if steady_since is None:
        return set()
    quiet = Q(status__in=[Status.LOADING, Status.FAILED], rate_bps__gt=0, moved_at__lte=now - RATE_HOLDS)
    stalled = Q(status=Status.LOADING, stalled=False, moved_at__lte=now - STALLED_AFTER)
    items = list(_of_items(airline).filter(quiet | stalled).values_list("pk", flat=True)[:AT_ONCE])
    loads = list(_of_loads(airline).filter(quiet | stalled).values_list("pk", flat=True)[:AT_ONCE])
    if not (items or loads):
        return set()
    with transaction.atomic():
        for rows in (Transfer.objects.filter(pk__in=items), Load.objects.filter(pk__in=loads)):
            rows.filter(quiet).update(rate_bps=None)
            rows.filter(stalled).update(stalled=True, rate_bps=0)
        return _publish(
            list(_of_items(airline).filter(pk__in=items).select_related("load__tail__airline", "load__campaign")),
            list(_of_loads(airline).filter(pk__in=loads).select_related("tail__airline", "campaign")),
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
