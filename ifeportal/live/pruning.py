"""Pruning of the change feed: objects that vanished are published as deleted, old deletions are removed.

Rows that were deleted by hand, and those that went with them, publish nothing; here their changes are found and told. A
browser that was away must still hear of a deletion, so a telling stays for at least one round of `prune`; who comes
back with a revision from before what was forgotten loads its page anew (`oldest_complete_rev`). Touches the feed's
tables; of the objects it asks only whether they are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import transaction

from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.live.models import Change, Counter
from ifeportal.live.registry import registered_topics
from ifeportal.work_lease import NO_LEASE, WorkLease

FORGOTTEN_COUNTER_ID: Final = 2  # the counter's row with the newest revision of which tellings may be missing
LAST_PRUNE_COUNTER_ID: Final = 3  # the one with the revision at the last round
SLICE_SIZE: Final = 2_000


@dataclass(slots=True)
class PruneResult:
    """Objects told as deleted, tellings forgotten, and the airlines (ids) whose objects vanished."""

    deletions_published: int = 0
    rows_deleted: int = 0
    airlines: set[int] = field(default_factory=set)


def prune(*, lease: WorkLease = NO_LEASE) -> PruneResult:
    """One round over the registered topics that name the table of their objects; others are left alone."""
    done = PruneResult()
    for rows in _slices():
        lease.heartbeat()
        _publish_deletions(rows, lease, done)
    _delete_old(lease, done)
    return done


def oldest_complete_rev() -> int:
    """Deletions up to this revision may have been forgotten. Read it after the changes that were missed."""
    return Counter.objects.filter(pk=FORGOTTEN_COUNTER_ID).values_list("rev", flat=True).first() or 0


def _slices() -> Iterator[list[Change]]:
    rows, last = Change.objects.filter(op="put").order_by("pk").defer("state"), 0
    while found := list(rows.filter(pk__gt=last)[:SLICE_SIZE]):
        yield found
        last = found[-1].pk


def _publish_deletions(rows: list[Change], lease: WorkLease, done: PruneResult) -> None:
    """Publish the deletion of those whose object is not there. Ids are never given twice, so it stays true."""
    gone: list[FeedChange] = []
    for topic in registered_topics().values():
        if topic.model is None:
            continue
        changes = [row for row in rows if row.topic == topic.name]
        objects = topic.model._default_manager.filter(pk__in=[row.object for row in changes])
        there = set(objects.values_list("pk", flat=True))
        gone += [_deletion(row) for row in changes if row.object not in there]
    if gone:
        with transaction.atomic():
            lease.check_fence()
            publish(gone)
        done.deletions_published += len(gone)
        done.airlines |= {each.airline_id for each in gone if each.airline_id is not None}


def _deletion(row: Change) -> FeedChange:
    """For those who know of the object, and no others."""
    place = row.airline_id, row.tail, row.campaign
    return FeedChange(row.topic, row.object, *place, op="delete", min_role=row.min_role, user_id=row.user_id)


def _delete_old(lease: WorkLease, done: PruneResult) -> None:
    """Delete what was told before the last round; it is said first from when on something may be missing."""
    upto = Counter.objects.filter(pk=LAST_PRUNE_COUNTER_ID).values_list("rev", flat=True).first() or 0
    old = Change.objects.filter(op="delete", rev__lte=upto)
    if old.exists():
        with transaction.atomic():
            lease.check_fence()
            _set_counter(FORGOTTEN_COUNTER_ID, upto)
    while pks := list(old.values_list("pk", flat=True)[:SLICE_SIZE]):
        lease.heartbeat()
        done.rows_deleted += Change.objects.filter(pk__in=pks, op="delete", rev__lte=upto).delete()[0]
    _set_counter(LAST_PRUNE_COUNTER_ID, current_rev())


def _set_counter(pk: int, rev: int) -> None:
    Counter.objects.update_or_create(pk=pk, defaults={"rev": rev})
