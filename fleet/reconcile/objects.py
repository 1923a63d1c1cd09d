"""Changed objects and their observations, from the listing alone or from the fetched bytes. Pure.

`guess` parses what the listing gives away (size, ETag); for other objects `how_much` says how much to fetch, and
`understand` parses the bytes.
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

ETAG_LIMIT: Final = 200  # characters the database holds; S3's own have 32 to 40


@dataclass(frozen=True, slots=True)
class Sighting:
    """A listed object whose version is not the one last read. `etag` is safe to store.

    `same`: it was written anew with the bytes it had.
    """

    key: StatusKey
    name: str
    size: int
    etag: str
    at: datetime
    same: bool = False


def moment(at: datetime) -> datetime:
    """The LastModified as it is stored: whole seconds. Some stores list fractions, but no answer to a GET has any."""
    return at.replace(microsecond=0) if at.microsecond else at


def version(etag: str) -> str:
    """The ETag as it is stored."""
    return etag if len(etag) <= ETAG_LIMIT and etag.isascii() and etag.isprintable() else storable(etag)[:ETAG_LIMIT]


def storable(text: str) -> str:
    """The text as every database takes it: NUL and unpaired surrogates written out."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


_FETCH: Final = {
    "progress": item_reports.PROGRESS_LIMIT,
    "error": item_reports.ERROR_LIMIT,
    "campaign_error": item_reports.ERROR_LIMIT,
    "heartbeat": HEARTBEAT_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What an object says, and what is wrong with it."""

    seen: Observation
    problem: Problem | None = None


def guess(sighting: Sighting, item_size: int | None) -> Reading | None:
    """What the object says, as far as the listing tells it: too large, empty, or a number its ETag gives away."""
    kind, etag, at = sighting.key.kind, sighting.etag, sighting.at
    if sighting.same:
        return Reading(ObjectRewritten(etag, at))
    if kind == "progress":
        if not 0 < sighting.size <= item_reports.PROGRESS_LIMIT:
            return _unreadable(
                sighting, f"A progress has 1 to {item_reports.PROGRESS_LIMIT} bytes, not {sighting.size:,}."
            )
        value = item_reports.progress_from_etag(etag, item_size)
        if value is not None and len(str(value)) == sighting.size:
            return Reading(ProgressObserved(etag, at, value))
    if kind == "heartbeat" and sighting.size > HEARTBEAT_LIMIT:
        return _unreadable(sighting, f"A heartbeat has at most {HEARTBEAT_LIMIT:,} bytes.")
    return None


def how_much(key: StatusKey) -> int:
    """How many bytes of the object to fetch, at most."""
    return _FETCH[key.kind]


def understand(sighting: Sighting, fetched: GetResult) -> Reading:
    """What the bytes of the object say."""
    etag, at = version(fetched.etag), moment(fetched.last_modified)
    now = Sighting(sighting.key, sighting.name, fetched.size, etag, at)
    try:
        if sighting.key.kind == "progress":
            return Reading(ProgressObserved(etag, at, item_reports.parse_progress(_whole(fetched))))
        if sighting.key.kind == "heartbeat":
            return Reading(HeartbeatObserved(etag, at, parse_heartbeat(_whole(fetched))))
    except ContractError as error:
        return _unreadable(now, str(error))
    report = item_reports.parse_error(fetched.body, truncated=fetched.truncated)
    return Reading(ErrorObserved(etag, at, report.code or "", report.text, report.truncated))


def _whole(fetched: GetResult) -> bytes:
    """The body; of one that was cut, more than any parser takes."""
    return fetched.body + b"?" if fetched.truncated else fetched.body


def _unreadable(sighting: Sighting, detail: str) -> Reading:
    if sighting.key.kind == "heartbeat":
        seen: Observation = HeartbeatObserved(sighting.etag, sighting.at, None)
    else:
        seen = ProgressObserved(sighting.etag, sighting.at, None)
    code = "BAD_HEARTBEAT" if sighting.key.kind == "heartbeat" else "BAD_PROGRESS"
    return Reading(seen, Problem(sighting.name, code, detail, sighting.etag))
