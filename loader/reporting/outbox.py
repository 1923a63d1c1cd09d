"""Queue of writes to the status bucket: only the newest value of each key, within rate limits.

Two limits apply: one value of a key per interval, and a number of writes per second for all keys. If more is due than
may be sent, errors and completions go first, then progress, then first values of items (latest first: they stay true
for longest), then removals of errors that may not exist. Values of one item are never in flight at the same time, so
that they arrive in order. Pure: no thread, clock or network; times are seconds of the caller's clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loader.s3.etags import is_md5_of

RATE: Final = 50.0  # writes per second, all items together
BURST: Final = 100.0  # writes at once after a pause
GRACE: Final = 1.0  # seconds before the first value of an item is sent: a newer one may replace it
PendingWrite = tuple[str, bytes | None]
_URGENT, _UPDATE, _FIRST, _CLEANUP = range(4)


@dataclass(slots=True)
class _Waiting:
    """The next value of a key."""

    body: bytes | None  # None: delete the object
    due: float
    rank: int
    not_before: float = 0.0
    ticket: int = 0  # of its newest entry in a heap; older entries are ignored


class Outbox:
    """Pending writes, writes in flight, and the known contents of the bucket."""

    def __init__(self, interval: float, *, rate: float = RATE, burst: float = BURST) -> None:
        self._interval, self._rate, self._burst = interval, rate, burst
        self._waiting: dict[str, _Waiting] = {}
        self._sent_at: dict[str, float] = {}
        self._wanted: dict[str, bytes | None] = {}
        self._later: list[tuple[float, int, str]] = []  # due, ticket, key
        self._ready: list[tuple[int, int, int, str]] = []  # rank, order, ticket, key
        self._in_flight: dict[
            str, list[tuple[int, int, int, str]]
        ] = {}  # by item: entries that wait for the one in flight
        self._tickets = 0
        self._tokens, self._filled_at = burst, float("-inf")
        self._capped = True
        self.paused_until = 0.0
        self.known: dict[str, bytes | None] = {}
        self._listed: dict[str, str] | None = None  # ETags by key; "" for keys written since

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Number of writes that were taken and neither arrived nor failed."""
        return len(self._in_flight)

    def post(self, key: str, body: bytes | None, now: float, *, urgent: bool = False) -> float | None:
        """Let `body` be the next value of `key`. Return when it is due, None if there is nothing to send."""
        self._wanted[key] = body
        if self._is_current(key, body):
            self._waiting.pop(key, None)
            return None
        due, rank = self._order(key, body, now, urgent)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(body, due, rank)
            self._push(key, waiting)
        else:
            due = max(due, waiting.not_before)
            moved = (waiting.due, waiting.rank) != (due, rank)
            waiting.body, waiting.due, waiting.rank = body, due, rank
            if moved:
                self._push(key, waiting)
        return max(waiting.due, self.paused_until)

    def set_listing(self, listed: Mapping[str, str]) -> None:
        """Set the ETags of all objects in the bucket by key, and drop writes that would change nothing.

        An ETag is the MD5 of the body, or empty if that is unknown.
        """
        self._listed = {**listed, **dict.fromkeys(self.known, "")}
        for key, waiting in list(self._waiting.items()):
            if self._is_current(key, waiting.body):
                del self._waiting[key]

    def existing_keys(self) -> list[str]:
        """Return the keys that are known to exist in the bucket."""
        listed = {*(self._listed or ()), *self.known}
        return [key for key in listed if self.known.get(key, b"") is not None]

    def _is_current(self, key: str, body: bytes | None) -> bool:
        """Whether the bucket is known to have exactly this value (None: no object)."""
        if key in self.known or self._listed is None:
            return key in self.known and self.known[key] == body
        etag = self._listed.get(key)
        same = etag is None if body is None else is_md5_of(etag or "", body)
        if same:
            self.known[key] = body
        return same

    def _order(self, key: str, body: bytes | None, now: float, urgent: bool) -> tuple[float, int]:
        """Return when it is due, and its rank."""
        if body is None and urgent:
            # An error is removed as promptly as it was reported.
            return now, _UPDATE if self.known.get(key) is not None else _CLEANUP
        if urgent:
            return now, _URGENT
        if key in self._sent_at:
            return self._sent_at[key] + self._interval, _UPDATE
        waiting = self._waiting.get(key)
        if waiting is not None:
            return waiting.due, waiting.rank if waiting.body == body else _UPDATE
        return now + min(GRACE, self._interval), _FIRST

    def _push(self, key: str, write: _Waiting) -> None:
        self._tickets += 1
        write.ticket = self._tickets
        heapq.heappush(self._later, (write.due, write.ticket, key))

    def take(self, now: float) -> PendingWrite | None:
        """Take the next write, in flight from now on; None if nothing may be sent now."""
        if now < self.paused_until or (self._capped and not self._has_token(now)):
            return None
        self._sort(now)
        while self._ready:
            entry = heapq.heappop(self._ready)
            _, _, ticket, key = entry
            waiting = self._waiting.get(key)
            if waiting is None or waiting.ticket != ticket:
                continue
            if _item_of(key) in self._in_flight:
                self._in_flight[_item_of(key)].append(entry)
                continue
            self._in_flight[_item_of(key)] = []
            self._tokens -= self._capped
            # Until it has arrived, the value in the bucket is unknown.
            self.known.pop(key, None)
            if self._listed is not None:
                self._listed[key] = ""
            return key, waiting.body
        return None

    def _sort(self, now: float) -> None:
        """Move writes that are due into the order in which they are sent."""
        while self._later and self._later[0][0] <= now:
            _, ticket, key = heapq.heappop(self._later)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.ticket == ticket:
                order = -ticket if waiting.rank == _FIRST else ticket
                heapq.heappush(self._ready, (waiting.rank, order, ticket, key))

    def _has_token(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._tokens >= 1

    def next_due(self, now: float) -> float | None:
        """Return when the next write may be sent; None if nothing waits, except for a write in flight."""
        self._sort(now)
        if not self._ready and not self._later:
            return None
        due = now if self._ready else self._later[0][0]
        if self._capped and not self._has_token(now):
            due = max(due, now + (1.001 - self._tokens) / self._rate)
        return max(due, self.paused_until)

    def sent(self, key: str, body: bytes | None, now: float) -> None:
        """Record that a write arrived. A newer value posted meanwhile waits for the next interval."""
        self._finish(key)
        self.known[key] = body
        self._sent_at[key] = now
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.body == body:
            del self._waiting[key]
        elif waiting is not None:
            if waiting.rank != _URGENT and self._capped:
                waiting.due = max(waiting.due, now + self._interval)
            self._push(key, waiting)

    def failed(self, key: str, until: float) -> None:
        """Record that a write failed or may have failed: the value in the bucket is unknown. Delay the key."""
        self._finish(key)
        self.known.pop(key, None)
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.due = waiting.not_before = until
            self._push(key, waiting)

    def _finish(self, key: str) -> None:
        for entry in self._in_flight.pop(_item_of(key), ()):
            heapq.heappush(self._ready, entry)

    def reset(self, now: float) -> None:
        """Forget what the bucket contains and post every value again."""
        self.known.clear()
        self._listed = None
        for key, body in self._wanted.items():
            self.post(key, body, now, urgent=body is None)

    def discard(self, key: str) -> None:
        """Drop a write that the store rejects."""
        self._waiting.pop(key, None)

    def flush_now(self) -> None:
        """Lift all limits: the loader ends."""
        self._capped, self.paused_until = False, 0.0
        for key, waiting in self._waiting.items():
            waiting.due = waiting.not_before = 0.0
            self._push(key, waiting)


def _item_of(key: str) -> str:
    """Return what the progress and the error of an item have in common."""
    return key.rpartition(".")[0]
