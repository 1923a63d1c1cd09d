"""What an aircraft writes into the status bucket: progress, errors, heartbeat; each parsed and built here.

Standard library only; pure. Reports come from other people's loaders too, so reading is strict about numbers and
lenient about error texts: whatever lies there becomes one line that is safe to show and to store.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Final

from loader.errors import ERRORS, BadHeartbeat, BadProgress
from loader.manifest import MIB
from loader.names import BIDI
from loader.strictjson import Fields, dumps, loads, said, utc_text

PROGRESS_LIMIT: Final = 64
ERROR_LIMIT: Final = 4096
HEARTBEAT_LIMIT: Final = 256 * 1024
COUNT_LIMIT: Final = 2**63 - 1  # What a database can hold.
RECOGNISED_MIB: Final = 16_384  # 16 GiB: beyond, an object is fetched; keeps the table at a few MB.

_DIGITS: Final = re.compile(rb"[0-9]{1,20}")
_CODED: Final = re.compile(r"([A-Z][A-Z_]*)(?::(.*))?")
_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_EMPTY: Final = "(an error without a text)"


def parse_progress(body: bytes) -> int:
    """Bytes held, from the body of a `.progress`: ASCII digits, nothing else but ASCII white space around.

    Raises:
        BadProgress: it is anything else, or more than a database can hold.
    """
    digits = body.strip(b" \t\n\r\v\f")
    if len(body) > PROGRESS_LIMIT or not _DIGITS.fullmatch(digits):
        raise BadProgress(f"the progress is not a plain number of bytes: {body[:40]!r}")
    done = int(digits)
    if done > COUNT_LIMIT:
        raise BadProgress(f"the progress is a number no disk can hold: {done}")
    return done


def build_progress(done: int) -> bytes:
    """The body of a `.progress` for `done` bytes. Raises BadProgress for what could not be read back."""
    if not 0 <= done <= COUNT_LIMIT:
        raise BadProgress(f"{done} is not a number of bytes")
    return b"%d" % done


def reportable(done: int, size: int, *, final: bool = False) -> int:
    """What to report for `done` of `size` bytes: whole MiB below `size`, so that the ETag tells the value.

    The size itself only if `final`: whole, checked, durable under its final name.
    """
    if final and done == size:
        return size
    return max(0, min(done, size - 1)) // MIB * MIB


def recognise_progress(etag: str, size: int | None) -> int | None:
    """The value whose plain body has this ETag (an MD5): 0, `size`, or whole MiB below `size`.

    None where it is another value, the ETag no MD5, or `size` unknown (then only 0 is told): fetch it.
    """
    digest = etag.strip('"').lower()
    if size is not None and digest == _size_digest(size):
        return size
    value = _whole_mib().get(digest)
    if value == 0 or (value is not None and size is not None and value < size):
        return value
    return None


def _digest(value: int) -> str:
    return hashlib.md5(b"%d" % value, usedforsecurity=False).hexdigest()


@cache
def _whole_mib() -> dict[str, int]:
    """Made once, in about 10 ms; independent of any item's size, so one serves all."""
    return {_digest(value * MIB): value * MIB for value in range(RECOGNISED_MIB)}


@lru_cache(maxsize=65_536)
def _size_digest(size: int) -> str:
    return _digest(size)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An `.error`: `code` of the table or None, `text` one line that is never empty, `cut` if there was more."""

    code: str | None
    text: str
    cut: bool = False


def parse_error(body: bytes, *, cut: bool = False) -> ErrorReport:
    """What an `.error` says; whatever its bytes are, this gives a line that can be shown and stored.

    `cut`: `body` is not the whole object. A code is told only if the table has it; else all of it is text.
    """
    cut = cut or len(body) > ERROR_LIMIT
    text = one_line(_whole_characters(body[:ERROR_LIMIT], cut).decode(errors="replace"))
    coded = _CODED.fullmatch(text)
    if coded and (kind := ERRORS.get(coded[1])):
        return ErrorReport(kind.code, (coded[2] or "").strip() or kind.sentence, cut)
    return ErrorReport(None, text or _EMPTY, cut)


def build_error(code: str, text: str) -> bytes:
    """The body of an `.error`: one line `CODE: text` of at most 4 KiB, no character cut in two.

    Raises:
        KeyError: the table has no such code.
    """
    line = f"{ERRORS[code].code}: {one_line(text) or ERRORS[code].sentence}"
    body = line.encode(errors="replace")
    if len(body) < ERROR_LIMIT:
        return body + b"\n"
    ellipsis = "…".encode()
    return _whole_characters(body[: ERROR_LIMIT - len(ellipsis) - 1], True) + ellipsis + b"\n"


def _whole_characters(body: bytes, cut: bool) -> bytes:
    """Without the beginning of a character whose end was cut off."""
    if cut:
        for back in range(1, min(4, len(body) + 1)):
            lead = body[-back]
            if lead >= 0xC0:
                needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                return body[:-back] if back < needed else body
            if lead < 0x80:
                break
    return body


def one_line(text: str) -> str:
    """White space as single blanks, NUL gone, every other control character visible, nothing that turns text round."""
    text = _BREAKS.sub(" ", text.replace("\0", "").removeprefix("\ufeff"))
    return " ".join("".join(map(_visible, text)).split())


def _visible(sign: str) -> str:
    category = unicodedata.category(sign)
    if category == "Cc":
        return chr(0x2400 + ord(sign)) if sign < " " else "␡" if sign == "\x7f" else "\ufffd"
    if category == "Cs" or sign in BIDI:
        return "\ufffd"
    return sign


@dataclass(frozen=True, slots=True)
class StoreReport:
    """One content directory; `total` and `free` in bytes."""

    path: str
    total: int | None = None
    free: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Held:
    """One campaign that lies on the aircraft."""

    campaign: str
    items: int | None = None
    bytes: int | None = None
    verified: bool = False
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A loader's own state. Times aware, UTC; `rate_bps` in bytes per second; None where it does not say."""

    loader: str = ""
    at: datetime | None = None
    started_at: datetime | None = None
    state: str = ""
    reason: str = ""
    campaign: str = ""
    rate_bps: int | None = None
    stores: tuple[StoreReport, ...] = ()
    queue_version: int | None = None
    held: tuple[Held, ...] = ()
    schema: int | None = 1
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


def parse_heartbeat(body: bytes) -> Heartbeat:
    """The heartbeat in the body of a `loader.json`; fields it does not have are empty or None.

    Raises:
        BadHeartbeat: with a sentence that names the place.
    """
    fields = Fields(loads(body, limit=HEARTBEAT_LIMIT, error=BadHeartbeat), "", BadHeartbeat)
    return Heartbeat(
        loader=_line(fields, "loader"),
        at=fields.time("at"),
        started_at=fields.time("started_at"),
        state=_line(fields, "state"),
        reason=_line(fields, "reason"),
        campaign=_line(fields, "campaign"),
        rate_bps=fields.integer("rate_bps"),
        stores=tuple(_store(entry, f"stores[{at}]") for at, entry in enumerate(fields.items("stores"))),
        queue_version=fields.integer("queue_version"),
        held=tuple(_held(entry, f"held[{at}]") for at, entry in enumerate(fields.items("held"))),
        schema=fields.integer("schema"),
        extra=fields.extra,
    )


def _line(fields: Fields, name: str) -> str:
    return one_line(fields.text(name))


def said_besides(heartbeat: Heartbeat, name: str) -> str:
    """A line of text that not every loader's heartbeat has; empty where it is none."""
    value = heartbeat.extra.get(name)
    return one_line(value) if isinstance(value, str) else ""


def _store(entry: object, place: str) -> StoreReport:
    fields = Fields(entry, place, BadHeartbeat)
    return StoreReport(_line(fields, "path"), fields.integer("total"), fields.integer("free"), fields.extra)


def _held(entry: object, place: str) -> Held:
    fields = Fields(entry, place, BadHeartbeat)
    return Held(
        campaign=_line(fields, "campaign"),
        items=fields.integer("items"),
        bytes=fields.integer("bytes"),
        verified=fields.boolean("verified", False),
        extra=fields.extra,
    )


def build_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The body of a `loader.json`; parsing it gives the same heartbeat, unknown fields included."""
    return dumps(
        said(
            {
                "schema": heartbeat.schema,
                "loader": heartbeat.loader,
                "at": utc_text(heartbeat.at),
                "started_at": utc_text(heartbeat.started_at),
                "state": heartbeat.state,
                "reason": heartbeat.reason,
                "campaign": heartbeat.campaign,
                "rate_bps": heartbeat.rate_bps,
                "stores": [said({"path": s.path, "total": s.total, "free": s.free}, s.extra) for s in heartbeat.stores],
                "queue_version": heartbeat.queue_version,
                "held": [
                    said({"campaign": h.campaign, "items": h.items, "bytes": h.bytes, "verified": h.verified}, h.extra)
                    for h in heartbeat.held
                ],
            },
            heartbeat.extra,
        )
    )
