"""Progress and error reports of items in the status bucket: parsed and built. Standard library only; pure.

Loaders of other vendors write reports too. Numbers are parsed strictly. Error texts are parsed leniently: any bytes
become one line that is safe to show and to store.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache, lru_cache
from typing import Final

from loader.contract.text import clean_line
from loader.contract.units import MIB
from loader.errors import ERRORS, BadProgress, Code, find_error_kind
from loader.frozen import frozen

PROGRESS_LIMIT: Final = 64
ERROR_LIMIT: Final = 4096
COUNT_LIMIT: Final = 2**63 - 1  # largest BIGINT of a database
RECOGNISED_MIB: Final = 16_384  # 16 GiB; keeps the table at a few MB, larger progress is fetched

_DIGITS: Final = re.compile(rb"[0-9]{1,20}")
_CODED: Final = re.compile(r"([A-Z][A-Z_]*)(?::(.*))?")
_EMPTY: Final = "(no error text)"


def parse_progress(body: bytes) -> int:
    """Return the bytes done from the body of a `.progress`: ASCII digits, optionally surrounded by ASCII white space.

    Raises:
        BadProgress: the body is anything else, or the number exceeds `COUNT_LIMIT`.
    """
    digits = body.strip(b" \t\n\r\v\f")
    if len(body) > PROGRESS_LIMIT or not _DIGITS.fullmatch(digits):
        raise BadProgress(f"the progress must be a number of bytes in ASCII digits, not {body[:40]!r}")
    done = int(digits)
    if done > COUNT_LIMIT:
        raise BadProgress(f"the progress must be at most {COUNT_LIMIT} bytes, not {done}")
    return done


def build_progress(bytes_done: int) -> bytes:
    """Return the body of a `.progress`. Raises BadProgress for a number that `parse_progress` would refuse."""
    if not 0 <= bytes_done <= COUNT_LIMIT:
        raise BadProgress(f"the progress must be between 0 and {COUNT_LIMIT} bytes, not {bytes_done}")
    return b"%d" % bytes_done


def progress_to_report(bytes_done: int, size: int, *, final: bool = False) -> int:
    """Return the progress to report: whole MiB below `size`, so that the object's ETag identifies the value.

    The result is `size` only if `final`: the item is complete, verified and durable under its final name.
    """
    if final and bytes_done == size:
        return size
    return max(0, min(bytes_done, size - 1)) // MIB * MIB


def progress_from_etag(etag: str, size: int | None) -> int | None:
    """Return the progress whose body has this ETag (an MD5): 0, `size`, or whole MiB below `size`.

    None if the object must be fetched: another value, an ETag that is no MD5, or an unknown `size` (then only 0 is
    recognised).
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
    # Takes about 10 ms. Does not depend on the size of an item, so one table serves all.
    return {_md5(value * MIB): value * MIB for value in range(RECOGNISED_MIB)}


@lru_cache(maxsize=65_536)
def _etag_of_size(size: int) -> str:
    return _md5(size)


@frozen
class ErrorReport:
    """A parsed `.error`: `code` of the table or None; `text` is one line, never empty; `truncated` if it was longer."""

    code: Code | None
    text: str
    truncated: bool = False


def parse_error(body: bytes, *, truncated: bool = False) -> ErrorReport:
    """Return the report in the body of an `.error`. Any bytes give a line that is safe to show and to store.

    `truncated`: `body` is not the complete object. A code that is not in the table is part of the text.
    """
    truncated = truncated or len(body) > ERROR_LIMIT
    text = clean_line(_without_partial_character(body[:ERROR_LIMIT], truncated).decode(errors="replace"))
    coded = _CODED.fullmatch(text)
    if coded and (kind := find_error_kind(coded[1])):
        return ErrorReport(kind.code, (coded[2] or "").strip() or kind.sentence, truncated)
    return ErrorReport(None, text or _EMPTY, truncated)


def build_error(code: Code, text: str) -> bytes:
    """Return the body of an `.error`: one line `CODE: text` of at most `ERROR_LIMIT` bytes, cut between characters."""
    line = f"{code}: {clean_line(text) or ERRORS[code].sentence}"
    body = line.encode(errors="replace")
    if len(body) < ERROR_LIMIT:
        return body + b"\n"
    ellipsis = "…".encode()
    return _without_partial_character(body[: ERROR_LIMIT - len(ellipsis) - 1], True) + ellipsis + b"\n"


def _without_partial_character(body: bytes, truncated: bool) -> bytes:
    """Remove a UTF-8 character at the end whose last bytes were cut off."""
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
