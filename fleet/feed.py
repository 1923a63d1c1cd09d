"""Rows as changes of the feed, and pruning the feed of deleted rows.

Building a change of one row is pure; `fleet.serialization` lists what must be loaded with it. The functions for many
rows query the totals they publish.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

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
from ifeportal.bulk import where_pk_in
from ifeportal.live.feed import FeedChange, publish
from ifeportal.live.pruning import PruneResult, prune
from ifeportal.live.registry import Place, Topic
from ifeportal.models import Airline
from ifeportal.work_lease import NO_LEASE, WorkLease


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


def total_changes(airlines: QuerySet[Airline], campaigns: QuerySet[Campaign] | None = None) -> list[FeedChange]:
    """Return changes of these campaigns and airlines, with their totals."""
    rows = () if campaigns is None else rollup.campaigns(campaigns)
    return [*map(campaign_change, rows), *map(airline_change, rollup.airlines(airlines))]


def publish_totals(
    airlines: QuerySet[Airline], campaigns: QuerySet[Campaign] | None = None, *, lease: WorkLease = NO_LEASE
) -> None:
    """Publish the totals of these campaigns and airlines in one transaction, with the fence of `lease`."""
    with transaction.atomic():
        keeping.regroup(airlines.values_list("pk", flat=True))
        changes = total_changes(airlines, campaigns)
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
    """Publish deletions, delete old changes, and publish the totals of the airlines concerned."""
    pruned = prune(lease=lease)
    if pruned.airlines:
        publish_totals(Airline.objects.filter(pk__in=pruned.airlines), lease=lease)
    return pruned
