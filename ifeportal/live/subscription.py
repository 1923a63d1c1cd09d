"""Pending changes of one socket: the newest state of each object, never a queue of old ones.

Pure: no I/O, no clock. However slow the browser, at most PENDING_LIMIT objects wait; beyond that it must reload the
page.
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
    """One change as it is sent: `text` is its JSON, built once and shared by all sockets.

    `retraction` is the JSON for users who can no longer see the object; empty if it was never retracted.
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
        return self.change.topic, self.change.object

    def as_seen_in(self, scope: Scope) -> PendingChange | None:
        """Return the change as a socket of this scope receives it; None if it does not."""
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
    """The next message: changes and the revision up to which the browser then has everything, or a reload."""

    rev: int
    texts: tuple[str, ...] = ()
    reload: bool = False


class Subscription:
    """The pending changes of one socket; `wake` is called when there is something to take."""

    def __init__(self, scope: Scope, wake: Callable[[], None]) -> None:
        self.scope = scope
        self.closed = False
        self._wake = wake
        self._pending: dict[Key, PendingChange] = {}  # in the order of revisions
        self._seen = 0  # everything up to this revision was merged or does not concern the socket
        self._open = False
        self._reload = False

    def offer(self, changes: Sequence[PendingChange]) -> None:
        """Add the changes that concern this socket. They must come in the order of revisions."""
        newer = (item.as_seen_in(self.scope) for item in changes if item.change.rev > self._seen)
        relevant = [item for item in newer if item is not None]
        for item in relevant:
            self._put(item)
        if relevant and self._open:
            self._wake()

    def begin(self, since: int = 0, missed: Sequence[PendingChange] = ()) -> None:
        """Open the subscription: first comes what the browser missed since its revision `since`.

        Changes offered before this call follow, unless a missed one is newer.
        """
        self._seen = max([since, *(item.change.rev for item in missed)])
        later, self._pending = self._pending, {}
        for item in (*missed, *(item for item in later.values() if item.change.rev > self._seen)):
            if seen := item.as_seen_in(self.scope):  # the scope may have changed while the missed changes were read
                self._put(seen)
        self._open = True
        self._wake()

    def require_reload(self) -> None:
        """Discard pending changes: the browser must reload the page."""
        self._pending.clear()
        self._reload = self._open = True
        self._wake()

    def close(self) -> None:
        """Mark the subscription as ended, because the reader has."""
        self.closed = True
        self._wake()

    def rev(self, through: int) -> int:
        """Return the revision up to which nothing is pending; `through` is how far the reader has read."""
        first = next(iter(self._pending.values()), None)
        return max(through, self._seen) if first is None else first.change.rev - 1

    def take(self, through: int) -> Batch | None:
        """Return the next message, or None while nothing is pending."""
        if self._reload:
            self._reload = False
            return Batch(rev=through, reload=True)
        if not self._open or not self._pending:
            return None
        keys = list(self._pending)[:BATCH_LIMIT]
        texts = tuple(self._pending.pop(key).text for key in keys)
        return Batch(rev=self.rev(through), texts=texts)

    def _put(self, item: PendingChange) -> None:
        self._pending.pop(item.key, None)  # moved to the end: the order is that of revisions
        self._pending[item.key] = item
        if len(self._pending) > PENDING_LIMIT:
            self.require_reload()
