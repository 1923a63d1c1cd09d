"""Pending changes of one socket: the newest state of each object, never a queue of old ones.

Pure: no I/O, no clock. However slow the browser, at most PENDING_LIMIT objects wait; beyond that it is told to load
the page anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ifeportal.live.models import Change
from ifeportal.live.scope import Scope

PENDING_LIMIT = 5000
BATCH_LIMIT = 500

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PendingChange:
    """One change as it goes out: `text` is its JSON, made once and shared by all sockets.

    `retraction` is the JSON for those who may not see the object any more; empty if it was never retracted.
    """

    change: Change
    text: str
    retraction: str = ""

    @classmethod
    def of(cls, change: Change) -> PendingChange:
        """Return the change of a row of the feed."""
        retraction = _change_json(change, "delete", {}) if change.retracted_from else ""
        return cls(change, _change_json(change, change.op, change.state), retraction)

    @property
    def key(self) -> Key:
        """The object it is the state of."""
        return self.change.topic, self.change.object

    def as_seen_in(self, scope: Scope) -> PendingChange | None:
        """The change as a socket of this scope receives it; None if it doesn't."""
        if scope.covers(self.change):
            return self
        if self.retraction and scope.has_lost(self.change):
            return replace(self, text=self.retraction)
        return None


def _change_json(change: Change, op: str, state: Mapping[str, Any]) -> str:
    shown = {"topic": change.topic, "object": change.object, "op": op, "state": state}
    return json.dumps(shown, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Batch:
    """The next message: changes and the revision up to which the browser then has everything, or "load anew"."""

    rev: int
    texts: tuple[str, ...] = ()
    reload: bool = False


class Subscription:
    """The waiting news of one socket; `wake` is called when there is something to take."""

    def __init__(self, scope: Scope, wake: Callable[[], None]) -> None:
        self.scope = scope
        self.closed = False
        self._wake = wake
        self._pending: dict[Key, PendingChange] = {}  # in the order of revisions
        self._seen = 0  # everything up to this revision has been merged or is of no concern
        self._open = False
        self._reload = False

    def offer(self, news: Sequence[PendingChange]) -> None:
        """Take what of the news concerns this socket. The news must come in the order of revisions."""
        newer = (item.as_seen_in(self.scope) for item in news if item.change.rev > self._seen)
        fresh = [item for item in newer if item is not None]
        for item in fresh:
            self._put(item)
        if fresh and self._open:
            self._wake()

    def begin(self, since: int = 0, missed: Sequence[PendingChange] = ()) -> None:
        """From now on there is something to take, first what the browser missed since its revision `since`.

        What was offered meanwhile comes after it, unless what was missed is newer.
        """
        self._seen = max([since, *(item.change.rev for item in missed)])
        later, self._pending = self._pending, {}
        for item in (*missed, *(item for item in later.values() if item.change.rev > self._seen)):
            if seen := item.as_seen_in(self.scope):  # which may have become another while it was read
                self._put(seen)
        self._open = True
        self._wake()

    def require_reload(self) -> None:
        """Forget what waits: the browser shall load the page anew."""
        self._pending.clear()
        self._reload = self._open = True
        self._wake()

    def close(self) -> None:
        """The reader has ended: nothing will come any more."""
        self.closed = True
        self._wake()

    def rev(self, through: int) -> int:
        """The revision up to which nothing waits; `through` is how far the reader has read."""
        first = next(iter(self._pending.values()), None)
        return max(through, self._seen) if first is None else first.change.rev - 1

    def take(self, through: int) -> Batch | None:
        """The next message, or None while nothing waits."""
        if self._reload:
            self._reload = False
            return Batch(rev=through, reload=True)
        if not self._open or not self._pending:
            return None
        keys = list(self._pending)[:BATCH_LIMIT]
        texts = tuple(self._pending.pop(key).text for key in keys)
        return Batch(rev=self.rev(through), texts=texts)

    def _put(self, item: PendingChange) -> None:
        self._pending.pop(item.key, None)  # to the end: the order is that of revisions
        self._pending[item.key] = item
        if len(self._pending) > PENDING_LIMIT:
            self.require_reload()
