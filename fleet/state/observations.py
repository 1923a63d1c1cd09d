"""Observations of objects: progress, errors and heartbeats as read, rewritten or deleted. Pure.

Versions are ordered by LastModified, then by ETag, as LastModified has a resolution of one second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from loader.contract.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class ProgressObserved:
    """A `.progress` as read; `value` in bytes, None if it could not be parsed."""

    etag: str
    at: datetime
    value: int | None


@dataclass(frozen=True, slots=True)
class ErrorObserved:
    """An error object as read. `cut`: its text was longer than the limit."""

    etag: str
    at: datetime
    code: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ObjectRewritten:
    """An object rewritten at `at` with the same bytes: its content is confirmed as of then."""

    etag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatObserved:
    """A `loader.json` as read; `heartbeat` is None if it could not be parsed."""

    etag: str
    at: datetime
    heartbeat: Heartbeat | None


@dataclass(frozen=True, slots=True)
class ObjectDeleted:
    """An object missing from a complete listing; `etag` is that of the last known version."""

    etag: str


Observation = ProgressObserved | ErrorObserved | HeartbeatObserved | ObjectRewritten
ProgressObservation = ProgressObserved | ObjectRewritten | ObjectDeleted
ErrorObservation = ErrorObserved | ObjectRewritten | ObjectDeleted
HeartbeatObservation = HeartbeatObserved | ObjectRewritten | ObjectDeleted


def is_outdated(seen: Observation | ObjectDeleted | None, known_at: datetime | None) -> bool:
    """Return whether `seen` is of a version older than the known one of `known_at`."""
    if known_at is None or not isinstance(seen, ProgressObserved | ErrorObserved | HeartbeatObserved):
        return False
    return seen.at < known_at


def is_superseded(at: datetime, etag: str, known_at: datetime | None, known_etag: str) -> bool:
    """Return whether a version read just now must not replace the known one: it is older, or the same."""
    return known_at is not None and (at < known_at or (at == known_at and etag == known_etag))


def is_newer_rewrite(seen: ObjectRewritten, etag: str, at: datetime | None) -> bool:
    """Return whether `seen` rewrote the known version after `at`."""
    return seen.etag == etag and is_later(seen.at, at)


def is_later(one: datetime | None, other: datetime | None) -> bool:
    """Return whether `one` is known and later than `other`; anything known is later than None."""
    return one is not None and (other is None or one > other)


def latest_of(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two timestamps, the known one, or None."""
    return max((moment for moment in (one, other) if moment is not None), default=None)


class ErrorSlot(NamedTuple):
    """The error object of an item or a campaign as last seen. Empty `etag`: no error now."""

    etag: str
    at: datetime | None
    code: str
    text: str
    cut: bool = False

    def after(self, seen: ErrorObservation | None) -> ErrorSlot:
        """Return the slot after `seen`; the same one if `seen` is not newer."""
        match seen:
            case ObjectDeleted(etag) if etag == self.etag:
                return ErrorSlot("", self.at, "", "")
            case ObjectRewritten() if is_newer_rewrite(seen, self.etag, self.at):
                return self._replace(at=seen.at)
            case ErrorObserved() if not is_superseded(seen.at, seen.etag, self.at, self.etag):
                return ErrorSlot(seen.etag, seen.at, seen.code, seen.text, seen.cut)
        return self
