"""What is still to be told to the ground, key by key: only the newest value waits, and not more often than allowed.

Pure: no thread, no clock, no network of its own; times are seconds of whatever clock the caller uses.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Letter:
    body: bytes | None  # None: the object is to be removed
    due: float
    not_before: float = 0.0
    urgent: bool = False


class Outbox:
    """What is still to be sent, and what the bucket is known to hold."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._waiting: dict[str, _Letter] = {}
        self._sent_at: dict[str, float] = {}
        self._wanted: dict[str, bytes | None] = {}
        self.paused_until = 0.0
        self.known: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def post(self, key: str, body: bytes | None, now: float, *, urgent: bool = False) -> float | None:
        """Let `body` be what is sent next for `key`; returns when it is due, None if there is nothing to send."""
        self._wanted[key] = body
        if key in self.known and self.known[key] == body:
            self._waiting.pop(key, None)
            return None
        due = now if urgent else self._sent_at.get(key, now - self._interval) + self._interval
        letter = self._waiting.setdefault(key, _Letter(body, due))
        letter.body, letter.due, letter.urgent = body, max(due, letter.not_before), urgent
        return max(letter.due, self.paused_until)

    def due(self, now: float) -> list[str]:
        """Keys to be sent now: values before removals, so that an error goes only after the success is told."""
        if now < self.paused_until:
            return []
        keys = [key for key, letter in self._waiting.items() if letter.due <= now]
        return sorted(keys, key=lambda key: self._waiting[key].body is None)

    def next_due(self) -> float | None:
        """When the next one is due."""
        soonest = min((letter.due for letter in self._waiting.values()), default=None)
        return None if soonest is None else max(soonest, self.paused_until)

    def body(self, key: str) -> bytes | None:
        """What is to be sent, as it is now. Raises KeyError if it was taken back."""
        return self._waiting[key].body

    def sent(self, key: str, body: bytes | None, now: float) -> None:
        """It arrived. If a newer value came meanwhile, that one waits for its turn."""
        self.known[key] = body
        self._sent_at[key] = now
        letter = self._waiting.get(key)
        if letter is not None and letter.body == body:
            del self._waiting[key]
        elif letter is not None and not letter.urgent:
            letter.due = max(letter.due, now + self._interval)

    def failed(self, key: str, until: float) -> None:
        """It did not arrive, or nobody knows: what the bucket holds is not known, and this key waits."""
        self.known.pop(key, None)
        if key in self._waiting:
            self._waiting[key].due = self._waiting[key].not_before = until

    def forget(self, now: float) -> None:
        """What the bucket holds is not known after all: everything is to be said again."""
        self.known.clear()
        for key, body in self._wanted.items():
            self.post(key, body, now)

    def drop(self, key: str) -> None:
        """It will never arrive."""
        self._waiting.pop(key, None)

    def hurry(self) -> None:
        """The loader ends: everything is due."""
        self.paused_until = 0.0
        for letter in self._waiting.values():
            letter.due = letter.not_before = 0.0
