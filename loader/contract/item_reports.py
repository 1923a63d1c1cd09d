"""Progress and errors of items in the status bucket: parsed and built. Standard library only; pure.

Reports also come from loaders of other vendors: numbers are read strictly, error texts leniently. Any bytes become
one line that is safe to show and to store.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from loader.contract.text import clean_line
from loader.contract.units import MIB
from loader.errors import ERRORS, BadProgress, Code, find_error_kind

PROGRESS_LIMIT: Final = 64
ERROR_LIMIT: Final = 4096
COUNT_LIMIT: Final = 2**63 - 1  # What a database can hold.
RECOGNISED_MIB: Final = 16_384  # 16 GiB: beyond, an object is fetched; keeps the table at a few MB.

_DIGITS: Final = re.compile(rb"[0-9]{1,20}")
_CODED: Final = re.compile(r"([A-Z][A-Z_]*)(?::(.*))?")
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


def build_progress(bytes_done: int) -> bytes:
    """The body of a `.progress` for `bytes_done` bytes. Raises BadProgress for what could not be read back."""
    if not 0 <= bytes_done <= COUNT_LIMIT:
        raise BadProgress(f"{bytes_done} is not a number of bytes")
    return b"%d" % bytes_done


def progress_to_report(bytes_done: int, size: int, *, final: bool = False) -> int:
    """What to report for `bytes_done` of `size` bytes: whole MiB below `size`, so that the ETag tells the value.

    The size itself only if `final`: whole, checked, durable under its final name.
    """
    if final and bytes_done == size:
        return size
    return max(0, min(bytes_done, size - 1)) // MIB * MIB


def progress_from_etag(etag: str, size: int | None) -> int | None:
    """The value whose plain body has this ETag (an MD5): 0, `size`, or whole MiB below `size`.

    None where it is another value, the ETag no MD5, or `size` unknown (then only 0 is told): fetch it.
    """
    digest = etag.strip('"').lower()
    if size is not None and digest == _etag_of_size(size):
        return size
    value = _etags_of_whole_mib().get(digest)
    if value == 0 or (value is not None and size is not None and value < size):
        return value
    return None


def _md5(value: int) -> str:
    return hashlib.md5(b"%d" % value, usedforsecurity=False).hexdigest()


@cache
def _etags_of_whole_mib() -> dict[str, int]:
    """Made once, in about 10 ms; independent of any item's size, so one serves all."""
    return {_md5(value * MIB): value * MIB for value in range(RECOGNISED_MIB)}


@lru_cache(maxsize=65_536)
def _etag_of_size(size: int) -> str:
    return _md5(size)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An `.error`: `code` of the table or None, `text` one line that is never empty, `truncated` if there was more."""

    code: Code | None
    text: str
    truncated: bool = False


def parse_error(body: bytes, *, truncated: bool = False) -> ErrorReport:
    """What an `.error` says; whatever its bytes are, this gives a line that can be shown and stored.

    `truncated`: `body` is not the whole object. A code is told only if the table has it; else all of it is text.
    """
    truncated = truncated or len(body) > ERROR_LIMIT
    text = clean_line(_without_partial_character(body[:ERROR_LIMIT], truncated).decode(errors="replace"))
    coded = _CODED.fullmatch(text)
    if coded and (kind := find_error_kind(coded[1])):
        return ErrorReport(kind.code, (coded[2] or "").strip() or kind.sentence, truncated)
    return ErrorReport(None, text or _EMPTY, truncated)


def build_error(code: Code, text: str) -> bytes:
    """The body of an `.error`: one line `CODE: text` of at most 4 KiB, no character cut in two."""
    line = f"{code}: {clean_line(text) or ERRORS[code].sentence}"
    body = line.encode(errors="replace")
    if len(body) < ERROR_LIMIT:
        return body + b"\n"
    ellipsis = "…".encode()
    return _without_partial_character(body[: ERROR_LIMIT - len(ellipsis) - 1], True) + ellipsis + b"\n"


def _without_partial_character(body: bytes, truncated: bool) -> bytes:
    """Without the beginning of a character whose end was cut off."""
    if truncated:
        for back in range(1, min(4, len(body) + 1)):
            lead = body[-back]
            if lead >= 0xC0:
                needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                return body[:-back] if back < needed else body
            if lead < 0x80:
                break
    return body


def one_line(text: str) -> str:
    """Return `text` as one line that is safe to show, at most `ERROR_LIMIT` characters."""
    return clean_line(text)[:ERROR_LIMIT]
