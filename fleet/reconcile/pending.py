"""Changes of a listing that are found and not written yet, bounded in memory and fair to every tail. Pure.

In each poll a tail has a *turn* of `Limits.tail_objects` changed objects; the rest of its changes waits until every
other tail had its turn. A tail that is read for the first time, with any number of objects, delays no other.

Usually turns are taken while the listing is still being read. After a poll that had no time for all changes, they are
taken at the end, and the tails that were served longest ago come first: so every tail gets its turn, however much the
others change.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fleet.reconcile.limits import Limits
from fleet.reconcile.objects import ChangedObject
from loader.contract.keys import StatusKey

NOT_SERVED: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class TailChanges:
    """Changed and deleted objects of one tail; `deleted` has the version last read."""

    changed: list[ChangedObject] = field(default_factory=list)
    deleted: list[tuple[StatusKey, str]] = field(default_factory=list)


class PendingChanges:
    """Changes by tail.

    `served` is when each tail was served last; given only after a poll that had no time for all changes. `left_out`
    counts the objects that had no room; the next poll finds them again.
    """

    def __init__(self, limits: Limits, served: Mapping[str, datetime] | None = None) -> None:
        self.turns: dict[str, TailChanges] = {}
        self.left_out = 0
        self._limits = limits
        self._served = served
        self._in_turns = 0
        self._taken: Counter[str] = Counter()  # objects of earlier parts of the same turn
        self._waiting: dict[str, list[ChangedObject]] = {}
        self._in_waiting = 0
        self._evictable: list[tuple[float, str]] = []  # heap: the tail that was served last comes first
        self._evicted: set[str] = set()

    @property
    def is_due(self) -> bool:
        """Whether the turns should be taken before the listing is read further."""
        return self._served is None and self._in_turns >= self._limits.pending_objects

    def tail(self, tail: str) -> TailChanges:
        """Return the turn of a tail, to be added to."""
        return self.turns.setdefault(tail, TailChanges())

    def add(self, tail: str, changed: ChangedObject) -> None:
        """Add a changed object to the turn of its tail or to what waits for the end, or leave it out."""
        if tail in self._evicted:
            self.left_out += 1
        elif self._taken[tail] + len(self.tail(tail).changed) < self._limits.tail_objects:
            self._add_to_turn(tail, changed)
        elif self._in_waiting < self._limits.waiting_objects:
            self._waiting.setdefault(tail, []).append(changed)
            self._in_waiting += 1
        else:
            self.left_out += 1

    def _add_to_turn(self, tail: str, changed: ChangedObject) -> None:
        turn = self.tail(tail)
        if self._served is not None and not turn.changed:
            heapq.heappush(self._evictable, (-self._served.get(tail, NOT_SERVED).timestamp(), tail))
        turn.changed.append(changed)
        self._in_turns += 1
        if self._served is not None and self._in_turns > self._limits.waiting_objects:
            self._evict(heapq.heappop(self._evictable)[1])

    def _evict(self, tail: str) -> None:
        """Leave the changes of a tail to the next poll."""
        self._evicted.add(tail)
        changed = [*self.turns[tail].changed, *self._waiting.pop(tail, [])]
        self._in_waiting -= len(changed) - len(self.turns[tail].changed)
        self._in_turns -= len(self.turns[tail].changed)
        self.turns[tail].changed = []
        self.left_out += len(changed)

    def take_turns(self) -> dict[str, TailChanges]:
        """Return the turns and forget them."""
        taken, self.turns, self._in_turns = self.turns, {}, 0
        for tail, changes in taken.items():
            self._taken[tail] += len(changes.changed)
        return taken

    def rounds(self) -> Iterator[dict[str, TailChanges]]:
        """Yield what waits, in rounds: in each a turn of every tail that has changes left."""
        turn = self._limits.tail_objects
        while self._waiting:
            yield {tail: TailChanges(waiting[:turn]) for tail, waiting in self._waiting.items()}
            rest = {tail: waiting[turn:] for tail, waiting in self._waiting.items()}
            self._waiting = {tail: waiting for tail, waiting in rest.items() if waiting}
