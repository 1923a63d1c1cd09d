"""Changed objects and their observations, from the listing alone or from the fetched bytes. Pure.

`parse_from_listing` parses what size and ETag give away. For other objects, `fetch_limit` is how many bytes to fetch,
and `parse_body` parses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from fleet.reconcile.problems import Problem
from fleet.state.observations import ErrorObserved, HeartbeatObserved, ObjectRewritten, Observation, ProgressObserved
from ifeportal.storage.object_versions import is_dated, storable_etag, version_read
from loader.contract import item_reports
from loader.contract.heartbeat import HEARTBEAT_LIMIT, Heartbeat, parse_heartbeat
from loader.contract.keys import StatusKey
from loader.errors import ContractError
from loader.s3.auth.redaction import redact
from loader.s3.interface import GetResult, ObjectInfo


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """A listed object that differs from the version last read. `etag` is that of the listing, safe to store.

    `unchanged_bytes`: it was rewritten with the same bytes. `info` is the entry of the listing.
    """

    key: StatusKey
    name: str
    size: int
    etag: str
    at: datetime
    unchanged_bytes: bool = False
    info: ObjectInfo | None = None


def truncate_to_second(at: datetime) -> datetime:
    """Return the LastModified as stored: whole seconds. Some stores list fractions, but no GET response has them."""
    return at.replace(microsecond=0) if at.microsecond else at


_FETCH_LIMITS: Final = {
    "progress": item_reports.PROGRESS_LIMIT,
    "error": item_reports.ERROR_LIMIT,
    "campaign_error": item_reports.ERROR_LIMIT,
    "heartbeat": HEARTBEAT_LIMIT,
}


@dataclass(frozen=True, slots=True)
class ParsedObject:
    """The observation of an object, and the problem with it."""

    observation: Observation
    problem: Problem | None = None


def parse_from_listing(changed: ChangedObject, item_size: int | None) -> ParsedObject | None:
    """Return what the listing alone shows of the object; None if it must be fetched.

    Three cases need no request: unchanged bytes, a size out of bounds, and an ETag that is the MD5 of a known number.
    An object that is listed without a date is fetched for its date.
    """
    kind, etag, at = changed.key.kind, changed.etag, changed.at
    if changed.unchanged_bytes:
        return ParsedObject(ObjectRewritten(etag, at))
    if not is_dated(at):
        return None
    if kind == "progress":
        if not 0 < changed.size <= item_reports.PROGRESS_LIMIT:
            return _unreadable(
                changed, f"A progress object must have 1 to {item_reports.PROGRESS_LIMIT} bytes, not {changed.size:,}."
            )
        value = item_reports.progress_from_etag(etag, item_size)
        if value is not None and len(str(value)) == changed.size:
            return ParsedObject(ProgressObserved(etag, at, value))
    if kind == "heartbeat" and changed.size > HEARTBEAT_LIMIT:
        return _unreadable(changed, f"A heartbeat must have at most {HEARTBEAT_LIMIT:,} bytes.")
    return None


def fetch_limit(key: StatusKey) -> int:
    """Return how many bytes of the object to fetch at most."""
    return _FETCH_LIMITS[key.kind]


def parse_body(changed: ChangedObject, fetched: GetResult) -> ParsedObject:
    """Return the observation of a fetched object, with the version by which later listings recognise it."""
    etag = storable_etag(fetched.etag) if changed.info is None else version_read(changed.info, fetched)
    at = truncate_to_second(fetched.last_modified) if is_dated(fetched.last_modified) else changed.at
    now = ChangedObject(changed.key, changed.name, fetched.size, etag, at)
    try:
        if changed.key.kind == "progress":
            return ParsedObject(ProgressObserved(etag, at, item_reports.parse_progress(_body_or_too_long(fetched))))
        if changed.key.kind == "heartbeat":
            return ParsedObject(HeartbeatObserved(etag, at, _redacted(parse_heartbeat(_body_or_too_long(fetched)))))
    except ContractError as error:
        return _unreadable(now, str(error))
    report = item_reports.parse_error(fetched.body, truncated=fetched.truncated)
    return ParsedObject(ErrorObserved(etag, at, str(report.code or ""), redact(report.text), report.truncated))


def _redacted(heartbeat: Heartbeat) -> Heartbeat:
    """Return the heartbeat without secrets in its texts: loaders of others may report signed addresses."""
    extra = {name: _redacted_value(value) for name, value in heartbeat.extra.items()}
    return replace(heartbeat, reason=redact(heartbeat.reason), extra=extra)


def _redacted_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _redacted_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted_value(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _body_or_too_long(fetched: GetResult) -> bytes:
    """Return the body; if it was truncated, one byte more than any parser accepts."""
    return fetched.body + b"?" if fetched.truncated else fetched.body


def _unreadable(changed: ChangedObject, detail: str) -> ParsedObject:
    if changed.key.kind == "heartbeat":
        seen: Observation = HeartbeatObserved(changed.etag, changed.at, None)
    else:
        seen = ProgressObserved(changed.etag, changed.at, None)
    code = "BAD_HEARTBEAT" if changed.key.kind == "heartbeat" else "BAD_PROGRESS"
    return ParsedObject(seen, Problem(changed.name, code, detail, changed.etag))
