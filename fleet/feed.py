"""Rows as changes of the feed, totals that are stored and published, and pruning the feed of deleted rows.

Building a change of one row is pure; `fleet.serialization` lists what must be loaded with it. `publish_totals` is the
only way by which the totals of campaigns and airlines change.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from django.db import transaction

from campaigns.models import Campaign
from fleet.attention import keeping
from fleet.models import Load, Tail, Transfer
from fleet.serialization import (
    serialize_airline,
    serialize_campaign,
    serialize_load,
    serialize_tail,
    serialize_transfer,
)
from fleet.stats import rollup
from fleet.stats.item_totals import NO_CHANGES, ItemChanges
from fleet.stats.totals import lock_totals, record_check, recount, update_totals
from ifeportal.bulk import where_pk_in
from ifeportal.live.feed import FeedChange, publish
from ifeportal.live.pruning import PruneResult, prune
from ifeportal.live.registry import Place, Topic
from ifeportal.models import Airline
from ifeportal.work_lease import NO_LEASE, WorkLease

logger = logging.getLogger(__name__)


def transfer_change(row: Transfer) -> FeedChange:
    tail = row.load.tail
    return FeedChange("transfer", row.pk, tail.airline_id, tail.name, row.load.campaign.name, serialize_transfer(row))


def load_change(row: Load) -> FeedChange:
    return FeedChange("load", row.pk, row.tail.airline_id, row.tail.name, row.campaign.name, serialize_load(row))


def tail_change(row: Tail) -> FeedChange:
    return FeedChange("tail", row.pk, row.airline_id, tail=row.name, state=serialize_tail(row))


def campaign_change(row: Campaign) -> FeedChange:
    return FeedChange("campaign", row.pk, row.airline_id, campaign=row.name, state=serialize_campaign(row))


def airline_change(row: Airline) -> FeedChange:
    return FeedChange("airline", row.pk, row.pk, state=serialize_airline(row))


def row_changes(transfers: Collection[Transfer], loads: Collection[Load], tails: Collection[int]) -> list[FeedChange]:
    """Return changes of the transfers, the loads, and the tails of both and of the ids `tails`, with their totals."""
    touched = {*tails, *(row.load.tail_id for row in transfers), *(row.tail_id for row in loads)}
    above = rollup.tails(Tail.objects.filter(where_pk_in(Tail, touched))) if touched else ()
    return [*map(transfer_change, transfers), *map(load_change, loads), *map(tail_change, above)]


def total_changes(airlines: Collection[int], campaigns: Collection[int] = ()) -> list[FeedChange]:
    """Return changes of these campaigns and airlines (by id), with their stored totals."""
    changed = rollup.campaigns(Campaign.objects.filter(pk__in=campaigns)) if campaigns else ()
    return [
        *map(campaign_change, changed),
        *map(airline_change, rollup.airlines(Airline.objects.filter(pk__in=airlines))),
    ]


def publish_totals(
    airlines: Collection[int],
    campaigns: Collection[int] = (),
    *,
    tails: Collection[int] = (),
    items: ItemChanges = NO_CHANGES,
    rows: Sequence[FeedChange] = (),
    lease: WorkLease = NO_LEASE,
) -> None:
    """Bring the totals up to date with what the transaction changed, and publish them after `rows`.

    Causes of attention follow too. The arguments are those of `fleet.stats.totals.update_totals`. Call it last in the
    transaction that changed the loads or tails, or outside of one. The fence of `lease` is checked right before the
    feed is written.
    """
    with transaction.atomic(savepoint=False):
        keeping.regroup(airlines)
        update_totals(airlines, campaigns, tails, items)
        changes = [*rows, *total_changes(airlines, campaigns)]
        lease.check_fence()
        publish(changes)


AIRLINE: Final[frozenset[Place]] = frozenset({"airline"})
TOPICS: Final = (
    Topic("airline", Airline, AIRLINE),
    Topic("campaign", Campaign, AIRLINE | {"campaign"}),
    Topic("tail", Tail, AIRLINE | {"tail"}),
    Topic("load", Load, AIRLINE | {"tail", "campaign"}),
    Topic("transfer", Transfer, AIRLINE | {"tail", "campaign"}),
)


def prune_feed(*, lease: WorkLease = NO_LEASE) -> PruneResult:
    """Publish deletions, delete old changes, and count and publish the totals of the airlines concerned."""
    pruned = prune(lease=lease)
    for airline in sorted(pruned.airlines):
        lease.heartbeat()
        keeping.regroup([airline])
        recount(airline)
        _publish_all_totals(airline, lease)
    return pruned


def check_totals(airline: Airline, now: datetime, *, lease: WorkLease = NO_LEASE) -> list[str]:
    """Count all totals and findings of an airline; correct, log, record and publish wrong ones. Return their names.

    Without a fault in this program nothing is wrong, unless rows were deleted or changed by hand.
    """
    corrected = recount(airline.pk)
    if findings := keeping.recount(Airline.objects.filter(pk=airline.pk)).get(airline.name, 0):
        corrected.append(f"{findings} findings of attention")
    record_check(airline.pk, corrected, now)
    if corrected:
        logger.error("corrected stored totals of %s: %s", airline.name, ", ".join(corrected))
        _publish_all_totals(airline.pk, lease)
    return corrected


def _publish_all_totals(airline: int, lease: WorkLease) -> None:
    """Publish the airline and its campaigns, without counting."""
    campaigns = Campaign.objects.filter(airline=airline).order_by("pk").values_list("pk", flat=True)
    with transaction.atomic():
        lock_totals([airline])
        changes = total_changes([airline], list(campaigns))
        lease.check_fence()
        publish(changes)
