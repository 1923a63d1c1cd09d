"""Pruning of the change feed: objects that vanished are published as deleted, old deletions are removed.

Rows deleted by hand, and those deleted by cascade, publish nothing; `prune` finds their changes and publishes the
deletion. A browser that was disconnected must still receive a deletion, so each stays for at least one round of
`prune`; a browser that returns with a revision older than what was removed reloads its page (`oldest_complete_rev`).
Touches the feed's tables; of the objects it reads only whether they exist.
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

FORGOTTEN_COUNTER_ID: Final = 2  # counter row: the newest revision whose deletions may have been removed
LAST_PRUNE_COUNTER_ID: Final = 3  # counter row: the revision at the last round
SLICE_SIZE: Final = 2_000


@dataclass(slots=True)
class PruneResult:
    """Deletions published, old deletions removed, and the airlines (ids) whose objects vanished."""

    deletions_published: int = 0
    rows_deleted: int = 0
    airlines: set[int] = field(default_factory=set)


def prune(*, lease: WorkLease = NO_LEASE) -> PruneResult:
    """Run one round over the topics whose objects have a table. Raises what the lease raises."""
    done = PruneResult()
    for rows in _slices():
        lease.heartbeat()
        _publish_deletions(rows, lease, done)
    _delete_old(lease, done)
    return done


def oldest_complete_rev() -> int:
    """Return the revision up to which deletions may have been removed. Read it after the changes that were missed."""
    return Counter.objects.filter(pk=FORGOTTEN_COUNTER_ID).values_list("rev", flat=True).first() or 0


def _slices() -> Iterator[list[Change]]:
    rows, last = Change.objects.filter(op="put").order_by("pk").defer("state"), 0
    while found := list(rows.filter(pk__gt=last)[:SLICE_SIZE]):
        yield found
        last = found[-1].pk


def _publish_deletions(rows: list[Change], lease: WorkLease, done: PruneResult) -> None:
    """Publish the deletion of changes whose object is gone. Ids are never reused, so the deletion stays true."""
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
    # The same audience as the object had.
    place = row.airline_id, row.tail, row.campaign
    return FeedChange(row.topic, row.object, *place, op="delete", min_role=row.min_role, user_id=row.user_id)


def _delete_old(lease: WorkLease, done: PruneResult) -> None:
    """Delete the deletions that were published before the last round.

    The counter is raised first: a reader that misses a row must also see that rows may be missing.
    """
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
