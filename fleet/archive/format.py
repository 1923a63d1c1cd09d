"""The archive of a load: the small objects of a finished load as one compact object, and its key. Pure.

Only the portal writes and reads it. Canonical JSON in gzip: the same load gives the same bytes; empty values are left
out. A reader refuses an archive that is too large, not strict JSON, or of another load.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from fleet.choices import Inconsistency, Status, Verification
from loader.contract.item_reports import COUNT_LIMIT
from loader.contract.keys import quoted_key
from loader.contract.names import check_name, content_name
from loader.contract.strict_json import Fields, format_utc, loads
from loader.errors import BadArchive, BadName

ARCHIVE_LIMIT: Final = 8 * 1_048_576  # bytes of the object
UNPACKED_LIMIT: Final = 64 * 1_048_576
TRANSFERS_LIMIT: Final = 30_000
SAMPLES_LIMIT: Final = 50_000
TEXT_LIMIT: Final = 8_192  # characters

Value = str | int | bool | datetime | None
FieldKind = Literal[
    "status", "name", "etag", "code", "text", "flag", "count", "known", "moment", "contradiction", "proof"
]
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "contradiction": frozenset(Inconsistency.values),
    "proof": frozenset(Verification.values),
}
_LENGTHS: Final[Mapping[str, int]] = {"name": 200, "etag": 200, "code": 40, "text": TEXT_LIMIT}

# Fields of loads and transfers alike. A "count" that is left out is 0, a "known" one unknown.
_MEASURED: Final[Mapping[str, FieldKind]] = {
    "status": "status",
    "stalled": "flag",
    "bytes_done": "count",
    "bytes_total": "known",
    "rate_bps": "known",
    "error_code": "code",
    "error": "text",
    "as_of": "moment",
    "moved_at": "moment",
    "started_at": "moment",
    "finished_at": "moment",
    "error_etag": "etag",
    "error_at": "moment",
}
LOAD_FIELDS: Final[Mapping[str, FieldKind]] = {
    **_MEASURED,
    "items_total": "known",
    "items_done": "count",
    "items_failed": "count",
    "error_content": "name",
    "campaign_error": "text",
    "campaign_error_code": "code",
    "manifest_etag": "etag",
    "restarted": "flag",
    "contradiction": "contradiction",
    "proof": "proof",
}
TRANSFER_FIELDS: Final[Mapping[str, FieldKind]] = {
    **_MEASURED,
    "listed": "flag",
    "bytes_reported": "known",
    "progress_etag": "etag",
    "progress_at": "moment",
    "error_cut": "flag",
    "error_past": "flag",
    "restarted": "flag",
    "oversized": "flag",
    "unreadable": "flag",
}


@dataclass(frozen=True, slots=True)
class Archive:
    """A load as it ended.

    `load` has the fields of `LOAD_FIELDS`, each of `transfers` (by the item's name) those of `TRANSFER_FIELDS`.
    `samples` are times and bytes, in order.
    """

    airline: str
    tail: str
    campaign: str
    load: Mapping[str, Value]
    transfers: Mapping[str, Mapping[str, Value]]
    samples: Sequence[tuple[datetime, int]] = ()
    title: str = ""
    version: int | None = None
    starts: date | None = None
    ends: date | None = None


def build_archive(archive: Archive) -> bytes:
    """Return the object's body.

    Raises:
        BadArchive: it would be larger than a reader accepts.
    """
    document = {
        "schema": 1,
        "airline": archive.airline,
        "tail": archive.tail,
        "campaign": archive.campaign,
        "title": archive.title or None,
        "version": archive.version,
        "exhibition": _without_none({"starts": _day(archive.starts), "ends": _day(archive.ends)}) or None,
        "load": _written(archive.load),
        "transfers": [
            {"content": content, **_written(archive.transfers[content])} for content in sorted(archive.transfers)
        ],
        "samples": [[format_utc(at), count] for at, count in archive.samples],
    }
    text = json.dumps(
        _without_none(document), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    unpacked = text.encode()
    body = gzip.compress(unpacked, mtime=0)
    if len(unpacked) > UNPACKED_LIMIT or len(body) > ARCHIVE_LIMIT:
        raise BadArchive(f"the load would be {len(body):,} bytes, {len(unpacked):,} unpacked: too large for one object")
    return body


def parse_archive(body: bytes, *, airline: str, tail: str, campaign: str) -> Archive:
    """Return the archive of that load from the body of an object.

    Raises:
        BadArchive: with a sentence that names the place.
    """
    fields = Fields(loads(_unpacked(body), limit=UNPACKED_LIMIT, error=BadArchive), "", BadArchive)
    if fields.integer("schema") != 1:
        fields.fail("schema", "must be 1")
    for name, expected in (("airline", airline), ("tail", tail), ("campaign", campaign)):
        if fields.text(name) != expected:
            fields.fail(name, f"must be {expected!a}, as in the key")
    exhibition = Fields(fields.pop("exhibition") or {}, "exhibition", BadArchive)
    load = _read(Fields(fields.pop("load"), "load", BadArchive), LOAD_FIELDS)
    return Archive(
        airline=airline,
        tail=tail,
        campaign=campaign,
        load=load,
        transfers=_transfers(fields),
        samples=_samples(fields),
        title=_text(fields, "title", 500),
        version=fields.integer("version"),
        starts=exhibition.iso_date("starts"),
        ends=exhibition.iso_date("ends"),
    )


def _unpacked(body: bytes) -> bytes:
    if len(body) > ARCHIVE_LIMIT:
        raise BadArchive(f"it has more than {ARCHIVE_LIMIT:,} bytes")
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(body, UNPACKED_LIMIT + 1)
    except zlib.error as error:
        raise BadArchive(f"it is not gzip: {error}") from error
    if len(unpacked) > UNPACKED_LIMIT:
        raise BadArchive(f"it unpacks to more than {UNPACKED_LIMIT:,} bytes")
    if not stream.eof or stream.unused_data:
        raise BadArchive("it is truncated" if not stream.eof else "data follows its end")
    return unpacked


def _transfers(fields: Fields) -> dict[str, Mapping[str, Value]]:
    found: dict[str, Mapping[str, Value]] = {}
    entries = fields.array("transfers")
    if len(entries) > TRANSFERS_LIMIT:
        fields.fail("transfers", f"must be at most {TRANSFERS_LIMIT:,}")
    for index, entry in enumerate(entries):
        item = Fields(entry, f"transfers[{index}]", BadArchive)
        name = item.text("content")
        if content_name(f"{name}.tgz") in found:
            item.fail("content", f"{name!a} is listed twice")
        found[name] = _read(item, TRANSFER_FIELDS)
    return found


def _samples(fields: Fields) -> tuple[tuple[datetime, int], ...]:
    entries = fields.array("samples")
    if len(entries) > SAMPLES_LIMIT:
        fields.fail("samples", f"must be at most {SAMPLES_LIMIT:,}")
    found: list[tuple[datetime, int]] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, list) or len(entry) != 2:
            fields.fail(f"samples[{index}]", "must be a time and a number")
        pair = Fields({"at": entry[0], "bytes": entry[1]}, f"samples[{index}]", BadArchive)
        at, count = pair.datetime_with_offset("at"), pair.integer("bytes", high=COUNT_LIMIT)
        if at is None or count is None or (found and at <= found[-1][0]):
            fields.fail(f"samples[{index}]", "must be a time after the one before, and a number")
        found.append((at, count))
    return tuple(found)


def _read(fields: Fields, kinds: Mapping[str, FieldKind]) -> dict[str, Value]:
    values = {name: _value(fields, name, kind) for name, kind in kinds.items()}
    done, total = values["bytes_done"], values["bytes_total"]
    assert isinstance(done, int)
    if isinstance(total, int) and done > total:
        fields.fail("bytes_done", "must not be above bytes_total")
    if values["status"] == "complete" and done != total:
        fields.fail("status", "must not be complete before every byte is there")
    return values


def _value(fields: Fields, name: str, kind: FieldKind) -> Value:
    match kind:
        case "status":
            word = fields.text(name)
            known = sorted(Status.values)
            return word if word in known else fields.fail(name, f"must be one of {', '.join(known)}")
        case "flag":
            return fields.boolean(name, False)
        case "count":
            return fields.integer(name, high=COUNT_LIMIT) or 0
        case "known":
            return fields.integer(name, high=COUNT_LIMIT)
        case "moment":
            return fields.datetime_with_offset(name)
        case "contradiction" | "proof":
            word = fields.text(name)
            return word if word in _WORDS[kind] else ""  # a word of a newer version
    return _text(fields, name, _LENGTHS[kind])


def _text(fields: Fields, name: str, limit: int) -> str:
    value = fields.text(name)
    if len(value) > limit:
        fields.fail(name, f"must have at most {limit:,} characters")
    return value


def _written(values: Mapping[str, Value]) -> dict[str, object]:
    """Return the values without empty ones: null, no text, false."""
    present = {
        name: value for name, value in values.items() if value is not None and value != "" and value is not False
    }
    return {name: format_utc(value) if isinstance(value, datetime) else value for name, value in present.items()}


def _without_none(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


ARCHIVE: Final = ".archive"

PACKED: Final = ".json.gz"


def archive_key(airline: str, tail: str, campaign: str) -> str:
    """Return the key of a load's archive in the status bucket. Raises BadName."""
    return f"{archive_prefix(airline)}{check_name(tail)}/{check_name(campaign)}{PACKED}"


def archive_prefix(airline: str) -> str:
    """Return the prefix of an airline's archives in the status bucket. Raises BadName."""
    return f"{check_name(airline)}/{ARCHIVE}/"


def parse_archive_key(key: str) -> tuple[str, str, str]:
    """Return airline, tail and campaign from the key of an archive.

    Raises:
        BadName: it is no key of an archive, or a name in it is not allowed.
    """
    parts = key.split("/")
    if len(parts) != 4 or parts[1] != ARCHIVE or not parts[3].endswith(PACKED):
        raise BadName(f"the key {quoted_key(key)} is not <airline>/{ARCHIVE}/<tail>/<campaign>{PACKED}")
    return check_name(parts[0]), check_name(parts[2]), check_name(parts[3].removesuffix(PACKED))
