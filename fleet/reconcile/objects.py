"""Changed objects and their observations, from the listing alone or from the fetched bytes. Pure.

`parse_from_listing` parses what size and ETag give away. For other objects, `fetch_limit` is how many bytes to fetch,
and `parse_body` parses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleet.reconcile.problems import Problem
from fleet.state.observations import ErrorObserved, HeartbeatObserved, ObjectRewritten, Observation, ProgressObserved
from loader.contract import item_reports
from loader.contract.heartbeat import HEARTBEAT_LIMIT, parse_heartbeat
from loader.contract.keys import StatusKey
from loader.errors import ContractError
from loader.s3.interface import GetResult

ETAG_LIMIT: Final = 200  # characters, by the database column; S3's own ETags have 32 to 40


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """A listed object that differs from the version last read. `etag` is safe to store.

    `unchanged_bytes`: it was rewritten with the same bytes.
    """

    key: StatusKey
    name: str
    size: int
    etag: str
    at: datetime
    unchanged_bytes: bool = False


def truncate_to_second(at: datetime) -> datetime:
    """Return the LastModified as stored: whole seconds. Some stores list fractions, but no GET response has them."""
    return at.replace(microsecond=0) if at.microsecond else at


def storable_etag(etag: str) -> str:
    return (
        etag if len(etag) <= ETAG_LIMIT and etag.isascii() and etag.isprintable() else storable_text(etag)[:ETAG_LIMIT]
    )


def storable_text(text: str) -> str:
    """Return the text as every database accepts it: NUL and unpaired surrogates escaped."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


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
    """Return what the listing alone gives away of the object; None if it must be fetched.

    Three cases need no request: unchanged bytes, a size out of bounds, and an ETag that is the MD5 of a known number.
    """
    kind, etag, at = changed.key.kind, changed.etag, changed.at
    if changed.unchanged_bytes:
        return ParsedObject(ObjectRewritten(etag, at))
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
    etag, at = storable_etag(fetched.etag), truncate_to_second(fetched.last_modified)
    now = ChangedObject(changed.key, changed.name, fetched.size, etag, at)
    try:
        if changed.key.kind == "progress":
            return ParsedObject(ProgressObserved(etag, at, item_reports.parse_progress(_body_or_too_long(fetched))))
        if changed.key.kind == "heartbeat":
            return ParsedObject(HeartbeatObserved(etag, at, parse_heartbeat(_body_or_too_long(fetched))))
    except ContractError as error:
        return _unreadable(now, str(error))
    report = item_reports.parse_error(fetched.body, truncated=fetched.truncated)
    return ParsedObject(ErrorObserved(etag, at, str(report.code or ""), report.text, report.truncated))


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
