"""Rows as changes of the feed, and pruning the feed of rows that no longer exist.

Building a change is pure; `fleet.serialization` says what must be loaded with a row.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from campaigns.models import Campaign
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
    """A transfer, as the feed takes it."""
    tail = row.load.tail
    return FeedChange("transfer", row.pk, tail.airline_id, tail.name, row.load.campaign.name, serialize_transfer(row))


def load_change(row: Load) -> FeedChange:
    """A load, as the feed takes it."""
    return FeedChange("load", row.pk, row.tail.airline_id, row.tail.name, row.campaign.name, serialize_load(row))


def tail_change(row: Tail) -> FeedChange:
    """A tail, as the feed takes it."""
    return FeedChange("tail", row.pk, row.airline_id, tail=row.name, state=serialize_tail(row))


def campaign_change(row: Campaign) -> FeedChange:
    """A campaign, as the feed takes it."""
    return FeedChange("campaign", row.pk, row.airline_id, campaign=row.name, state=serialize_campaign(row))


def airline_change(row: Airline) -> FeedChange:
    """An airline, as the feed takes it."""
    return FeedChange("airline", row.pk, row.pk, state=serialize_airline(row))


def row_changes(transfers: Collection[Transfer], loads: Collection[Load], tails: Collection[int]) -> list[FeedChange]:
    """Return transfers, loads, and the tails of both and of the ids `tails` with totals, as the feed takes them."""
    touched = {*tails, *(row.load.tail_id for row in transfers), *(row.tail_id for row in loads)}
    above = rollup.tails(Tail.objects.filter(where_pk_in(Tail, touched))) if touched else ()
    return [*map(transfer_change, transfers), *map(load_change, loads), *map(tail_change, above)]


def total_changes(airlines: QuerySet[Airline], campaigns: QuerySet[Campaign] | None = None) -> list[FeedChange]:
    """Return the totals of these campaigns and airlines, as the feed takes them."""
    below = () if campaigns is None else rollup.campaigns(campaigns)
    return [*map(campaign_change, below), *map(airline_change, rollup.airlines(airlines))]


def publish_totals(
    airlines: QuerySet[Airline], campaigns: QuerySet[Campaign] | None = None, *, lease: WorkLease = NO_LEASE
) -> None:
    """Publish the totals of these campaigns and airlines, in one transaction with the fence of `lease`."""
    with transaction.atomic():
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
    """Tell of objects that vanished, forget old tellings, and publish the sums of the airlines concerned anew."""
    done = prune(lease=lease)
    if done.airlines:
        publish_totals(Airline.objects.filter(pk__in=done.airlines), lease=lease)
    return done
