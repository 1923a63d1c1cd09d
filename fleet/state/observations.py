"""Observations of objects: progress, errors and heartbeats as read, rewritten or deleted. Pure.

Order is decided by LastModified alone, then by the ETag, as LastModified resolves one second only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from loader.contract.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class ProgressObserved:
    """A `.progress` as it was read; `value` in bytes, None if it could not be understood."""

    etag: str
    at: datetime
    value: int | None


@dataclass(frozen=True, slots=True)
class ErrorObserved:
    """An error object as it was read."""

    etag: str
    at: datetime
    code: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ObjectRewritten:
    """An object that was written anew at `at` with the bytes it had: what it says is true of that later moment."""

    etag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatObserved:
    """A `loader.json` as it was read; `heartbeat` is None if it could not be parsed."""

    etag: str
    at: datetime
    heartbeat: Heartbeat | None


@dataclass(frozen=True, slots=True)
class ObjectDeleted:
    """An object that a whole listing no longer had; `etag` is that of the version it was known by."""

    etag: str


Observation = ProgressObserved | ErrorObserved | HeartbeatObserved | ObjectRewritten
ProgressObservation = ProgressObserved | ObjectRewritten | ObjectDeleted
ErrorObservation = ErrorObserved | ObjectRewritten | ObjectDeleted
HeartbeatObservation = HeartbeatObserved | ObjectRewritten | ObjectDeleted


def is_outdated(seen: Observation | ObjectDeleted | None, known_at: datetime | None) -> bool:
    """Return whether `seen` was read from a version older than the known one, which is of `known_at`."""
    if known_at is None or not isinstance(seen, ProgressObserved | ErrorObserved | HeartbeatObserved):
        return False
    return seen.at < known_at


def is_superseded(at: datetime, etag: str, known_at: datetime | None, known_etag: str) -> bool:
    """Whether a version read just now must not replace the known one: it is older, or the same."""
    return known_at is not None and (at < known_at or (at == known_at and etag == known_etag))


def is_newer_rewrite(seen: ObjectRewritten, etag: str, at: datetime | None) -> bool:
    """Return whether the object of `seen` was written again, unchanged, after `at`."""
    return seen.etag == etag and is_later(seen.at, at)


def is_later(one: datetime | None, other: datetime | None) -> bool:
    """Return whether `one` is known and later than `other`; anything known is later than None."""
    return one is not None and (other is None or one > other)


def latest_of(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two timestamps, the known one, or None."""
    return max((moment for moment in (one, other) if moment is not None), default=None)


class ErrorSlot(NamedTuple):
    """The error object of an item or a campaign as last seen. An empty `etag`: there is none now."""

    etag: str
    at: datetime | None
    code: str
    text: str
    cut: bool = False

    def after(self, seen: ErrorObservation | None) -> ErrorSlot:
        """Return the slot after `seen`; an equal one if that is older than what is known, or the same."""
        match seen:
            case ObjectDeleted(etag) if etag == self.etag:
                return ErrorSlot("", self.at, "", "")
            case ObjectRewritten() if is_newer_rewrite(seen, self.etag, self.at):
                return self._replace(at=seen.at)
            case ErrorObserved() if not is_superseded(seen.at, seen.etag, self.at, self.etag):
                return ErrorSlot(seen.etag, seen.at, seen.code, seen.text, seen.cut)
        return self
