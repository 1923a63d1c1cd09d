"""Keeping the feed's table to what there is: objects that vanished are told as deleted, old tellings are forgotten.

Rows that were deleted by hand, and those that went with them, publish nothing; here their changes are found and told.
A browser that was away must still hear of a deletion, so a telling stays for at least one round of `prune`; who comes
back with a revision from before what was forgotten loads its page anew (`forgotten_before`). Touches the feed's tables;
of the objects it asks only whether they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db import transaction
from django.db.models import Model

from ifeportal.live.feed import Published, current_rev, publish
from ifeportal.live.models import Change, Counter

FORGOTTEN: Final = 2  # the counter's row with the newest revision of which tellings may be missing
LAST_ROUND: Final = 3  # the one with the revision at the last round
ROWS_A_SLICE: Final = 2_000


@dataclass(slots=True)
class Pruned:
    """Objects told as deleted, tellings forgotten, and the airlines (ids) whose objects vanished."""

    told: int = 0
    forgotten: int = 0
    airlines: set[int] = field(default_factory=set)


def prune(
    models: Mapping[str, type[Model]],
    *,
    alive: Callable[[], None] = lambda: None,
    guard: Callable[[], None] = lambda: None,
) -> Pruned:
    """One round. `models` names the table of each topic's objects; other topics are left alone.

    `alive` is called between slices, `guard` in each transaction; what they raise ends it.
    """
    done = Pruned()
    for rows in _slices():
        alive()
        _tell(rows, models, guard, done)
    _forget(alive, guard, done)
    return done


def forgotten_before() -> int:
    """Deletions up to this revision may have been forgotten. Read it after the changes that were missed."""
    return Counter.objects.filter(pk=FORGOTTEN).values_list("rev", flat=True).first() or 0


def _slices() -> Iterator[list[Change]]:
    rows, last = Change.objects.filter(op="put").order_by("pk").defer("state"), 0
    while found := list(rows.filter(pk__gt=last)[:ROWS_A_SLICE]):
        yield found
        last = found[-1].pk


def _tell(rows: list[Change], models: Mapping[str, type[Model]], guard: Callable[[], None], done: Pruned) -> None:
    """Publish the deletion of those whose object is not there. Ids are never given twice, so it stays true."""
    gone: list[Published] = []
    for topic, model in models.items():
        changes = [row for row in rows if row.topic == topic]
        there = set(model._default_manager.filter(pk__in=[row.object for row in changes]).values_list("pk", flat=True))
        gone += [
            Published(topic, row.object, row.airline_id, row.tail, row.campaign, op="delete")
            for row in changes
            if row.object not in there
        ]
    if gone:
        with transaction.atomic():
            guard()
            publish(gone)
        done.told += len(gone)
        done.airlines |= {each.airline_id for each in gone}


def _forget(alive: Callable[[], None], guard: Callable[[], None], done: Pruned) -> None:
    """Delete what was told before the last round; it is said first from when on something may be missing."""
    upto = Counter.objects.filter(pk=LAST_ROUND).values_list("rev", flat=True).first() or 0
    old = Change.objects.filter(op="delete", rev__lte=upto)
    if old.exists():
        with transaction.atomic():
            guard()
            _note(FORGOTTEN, upto)
    while pks := list(old.values_list("pk", flat=True)[:ROWS_A_SLICE]):
        alive()
        done.forgotten += Change.objects.filter(pk__in=pks, op="delete", rev__lte=upto).delete()[0]
    _note(LAST_ROUND, current_rev())


def _note(pk: int, rev: int) -> None:
    Counter.objects.update_or_create(pk=pk, defaults={"rev": rev})
