"""Observations of objects: progress, errors and heartbeats as read, rewritten or deleted. Pure.

Order is decided by LastModified alone, then by the ETag, as LastModified resolves one second only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
class ObjectDeleted:
    """An object that a whole listing no longer had; `etag` is that of the version it was known by."""

    etag: str


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


@dataclass(frozen=True, slots=True)
class HeartbeatObserved:
    """A `loader.json` as it was read; `heartbeat` is None if it could not be understood."""

    etag: str
    at: datetime
    heartbeat: Heartbeat | None


Observation = ProgressObserved | ErrorObserved | HeartbeatObserved | ObjectRewritten
