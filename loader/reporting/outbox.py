"""Values that wait to be written to the status bucket: only the newest of each key, within rate limits.

Two limits hold: one value of a key per interval, and a number of writes per second for all keys. Where more is due
than may be sent, errors and completions go first, then progress, then first values of items (latest first: they stay
true for longest), then removals of errors that may not exist. Values of one item are never in flight together, so
that they arrive in order. Pure: no thread, clock or network; times are seconds of the caller's clock.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

RATE: Final = 50.0  # writes a second, of all items together
BURST: Final = 100.0  # of them at once after a silence
GRACE: Final = 1.0  # seconds in which an item may get further, so that its first value need not be told
PendingWrite = tuple[str, bytes | None]
_URGENT, _UPDATE, _FIRST, _CLEANUP = range(4)


@dataclass(slots=True)
class _Waiting:
    body: bytes | None  # None: the object is to be removed
    due: float
    rank: int
    not_before: float = 0.0
    ticket: int = 0  # of its newest entry in a heap; older entries are void


class Outbox:
    """What is still to be sent, what is under way, and what the bucket is known to hold."""

    def __init__(self, interval: float, *, rate: float = RATE, burst: float = BURST) -> None:
        self._interval, self._rate, self._burst = interval, rate, burst
        self._waiting: dict[str, _Waiting] = {}
        self._sent_at: dict[str, float] = {}
        self._wanted: dict[str, bytes | None] = {}
        self._later: list[tuple[float, int, str]] = []  # due, ticket, key
        self._ready: list[tuple[int, int, int, str]] = []  # rank, place, ticket, key
        self._in_flight: dict[str, list[tuple[int, int, int, str]]] = {}  # by item: what waits for its turn
        self._tickets = 0
        self._tokens, self._filled_at = burst, float("-inf")
        self._capped = True
        self.paused_until = 0.0
        self.known: dict[str, bytes | None] = {}
        self._listed: dict[str, str] | None = None  # ETags of all there is; empty for what was touched since

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many were taken and neither arrived nor failed."""
        return len(self._in_flight)

    def post(self, key: str, body: bytes | None, now: float, *, urgent: bool = False) -> float | None:
        """Let `body` be what is sent next for `key`; returns when it is due, None if there is nothing to send."""
        self._wanted[key] = body
        if self._is_current(key, body):
            self._waiting.pop(key, None)
            return None
        due, rank = self._order(key, body, now, urgent)
        letter = self._waiting.get(key)
        if letter is None:
            letter = self._waiting[key] = _Waiting(body, due, rank)
            self._push(key, letter)
        else:
            due = max(due, letter.not_before)
            moved = (letter.due, letter.rank) != (due, rank)
            letter.body, letter.due, letter.rank = body, due, rank
            if moved:
                self._push(key, letter)
        return max(letter.due, self.paused_until)

    def set_listing(self, listed: Mapping[str, str]) -> None:
        """All that lies in the bucket, as ETags by key: what is there already need not be told."""
        self._listed = {**listed, **dict.fromkeys(self.known, "")}
        for key, letter in list(self._waiting.items()):
            if self._is_current(key, letter.body):
                del self._waiting[key]

    def existing_keys(self) -> list[str]:
        """The keys that the bucket holds, as far as that is known."""
        listed = {*(self._listed or ()), *self.known}
        return [key for key in listed if self.known.get(key, b"") is not None]

    def _is_current(self, key: str, body: bytes | None) -> bool:
        """Whether the bucket is known to hold exactly this (None: no object)."""
        if key in self.known or self._listed is None:
            return key in self.known and self.known[key] == body
        etag = self._listed.get(key)
        # Only an MD5 sum tells what a body is; another kind of ETag is equal to none.
        same = etag is None if body is None else etag == hashlib.md5(body, usedforsecurity=False).hexdigest()
        if same:
            self.known[key] = body
        return same

    def _order(self, key: str, body: bytes | None, now: float, urgent: bool) -> tuple[float, int]:
        """When it is due, and what goes before it."""
        if body is None and urgent:
            # What was told is taken back as quickly as it was told.
            return now, _UPDATE if self.known.get(key) is not None else _CLEANUP
        if urgent:
            return now, _URGENT
        if key in self._sent_at:
            return self._sent_at[key] + self._interval, _UPDATE
        held = self._waiting.get(key)
        if held is not None:
            return held.due, held.rank if held.body == body else _UPDATE
        return now + min(GRACE, self._interval), _FIRST

    def _push(self, key: str, write: _Waiting) -> None:
        self._tickets += 1
        write.ticket = self._tickets
        heapq.heappush(self._later, (write.due, write.ticket, key))

    def take(self, now: float) -> PendingWrite | None:
        """The key and the value to be sent next, under way from now on; None if nothing may leave now."""
        if now < self.paused_until or (self._capped and not self._has_token(now)):
            return None
        self._sort(now)
        while self._ready:
            entry = heapq.heappop(self._ready)
            _, _, ticket, key = entry
            letter = self._waiting.get(key)
            if letter is None or letter.ticket != ticket:
                continue
            if _item_of(key) in self._in_flight:
                self._in_flight[_item_of(key)].append(entry)
                continue
            self._in_flight[_item_of(key)] = []
            self._tokens -= self._capped
            # Until it has arrived nobody knows what the bucket holds.
            self.known.pop(key, None)
            if self._listed is not None:
                self._listed[key] = ""
            return key, letter.body
        return None

    def _sort(self, now: float) -> None:
        """What has become due takes its place among what is ready."""
        while self._later and self._later[0][0] <= now:
            _, ticket, key = heapq.heappop(self._later)
            letter = self._waiting.get(key)
            if letter is not None and letter.ticket == ticket:
                place = -ticket if letter.rank == _FIRST else ticket
                heapq.heappush(self._ready, (letter.rank, place, ticket, key))

    def _has_token(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._tokens >= 1

    def next_due(self, now: float) -> float | None:
        """When something may leave, as far as is known now; None if nothing waits but for what is under way."""
        self._sort(now)
        if not self._ready and not self._later:
            return None
        due = now if self._ready else self._later[0][0]
        if self._capped and not self._has_token(now):
            due = max(due, now + (1.001 - self._tokens) / self._rate)
        return max(due, self.paused_until)

    def sent(self, key: str, body: bytes | None, now: float) -> None:
        """It arrived. If a newer value came meanwhile, that one waits for its turn."""
        self._finish(key)
        self.known[key] = body
        self._sent_at[key] = now
        letter = self._waiting.get(key)
        if letter is not None and letter.body == body:
            del self._waiting[key]
        elif letter is not None:
            if letter.rank != _URGENT and self._capped:
                letter.due = max(letter.due, now + self._interval)
            self._push(key, letter)

    def failed(self, key: str, until: float) -> None:
        """It did not arrive, or nobody knows: what the bucket holds is not known, and this key waits."""
        self._finish(key)
        self.known.pop(key, None)
        letter = self._waiting.get(key)
        if letter is not None:
            letter.due = letter.not_before = until
            self._push(key, letter)

    def _finish(self, key: str) -> None:
        for entry in self._in_flight.pop(_item_of(key), ()):
            heapq.heappush(self._ready, entry)

    def reset(self, now: float) -> None:
        """What the bucket holds is not known after all: everything is to be said again."""
        self.known.clear()
        self._listed = None
        for key, body in self._wanted.items():
            self.post(key, body, now, urgent=body is None)

    def discard(self, key: str) -> None:
        """It will never arrive."""
        self._waiting.pop(key, None)

    def flush_now(self) -> None:
        """The loader ends: everything is due, as much of it as can."""
        self._capped, self.paused_until = False, 0.0
        for key, letter in self._waiting.items():
            letter.due = letter.not_before = 0.0
            self._push(key, letter)


def _item_of(key: str) -> str:
    """What a key is of: the progress and the error of an item are told one after the other."""
    return key.rpartition(".")[0]
