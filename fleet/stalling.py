"""Notes what has not moved for a while, by the portal's own clock of changes seen: no rate any more, then stalled.

May touch transfers and loads, and the feed. Conditional updates, so that what moves at that moment wins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from fleet import rollup
from fleet.applying import lock_tails
from fleet.models import Load, Status, Tail, Transfer
from fleet.published import load_published, tail_published, transfer_published
from fleet.rates import RATE_HOLDS, STALLED_AFTER
from ifeportal.live.feed import publish
from ifeportal.models import Airline

AT_ONCE: Final = 500  # rows of a table flagged by one call; the next call takes the next


def note_standstill(airline: Airline, now: datetime, steady_since: datetime | None) -> set[str]:
    """Forget the rate of what has not moved for `RATE_HOLDS`, flag what has not for `STALLED_AFTER`, and publish both.

    Since `steady_since` the airline has been polled without a long gap; time before that does not count, as nobody saw
    whether anything moved. None: this is the first poll after a gap, or ever. So what really stands is flagged
    `STALLED_AFTER` after the portal came back, and nothing before. Loads that are archived rest.

    The names of the campaigns concerned. Writes nothing if nothing stands still that did not before.
    """
    if steady_since is None or steady_since > now - RATE_HOLDS:
        return set()
    quiet = Q(status__in=[Status.LOADING, Status.FAILED], rate_bps__gt=0, moved_at__lte=now - RATE_HOLDS)
    stalled = Q(status=Status.LOADING, stalled=False, moved_at__lte=now - STALLED_AFTER)
    if steady_since > now - STALLED_AFTER:
        stalled &= Q(pk__in=[])
    items = dict(_of_items(airline).filter(quiet | stalled).values_list("pk", "load__tail")[:AT_ONCE])
    loads = dict(_of_loads(airline).filter(quiet | stalled).values_list("pk", "tail")[:AT_ONCE])
    if not (items or loads):
        return set()
    with transaction.atomic():
        lock_tails(airline, {*items.values(), *loads.values()})
        for rows in (_of_items(airline).filter(pk__in=items), _of_loads(airline).filter(pk__in=loads)):
            rows.filter(quiet).update(rate_bps=None)
            rows.filter(stalled).update(stalled=True, rate_bps=0)
        return _publish(
            list(_of_items(airline).filter(pk__in=items).select_related("load__tail__airline", "load__campaign")),
            list(_of_loads(airline).filter(pk__in=loads).select_related("tail__airline", "campaign")),
        )


def _of_items(airline: Airline) -> QuerySet[Transfer]:
    return Transfer.objects.filter(load__tail__airline=airline, load__archived_at=None)


def _of_loads(airline: Airline) -> QuerySet[Load]:
    return Load.objects.filter(tail__airline=airline, archived_at=None)


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
