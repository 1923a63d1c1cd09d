"""HTTP headers of a store: dates, content ranges and conditions. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from loader.errors import Code, Unsupported
from loader.s3.etags import etag_header, is_weak

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_YEAR: Final = re.compile(r" ([0-9]{1,4}) [0-9]{2}:", re.ASCII)


def parse_http_date(text: str | None) -> datetime | None:
    """Return the date of a header in UTC, None if it is missing or malformed."""
    try:
        date = parsedate_to_datetime(text or "")
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: in UTC the date is out of range
        return None


def parse_last_modified(text: str | None) -> datetime:
    """Return the date of an object in UTC; EPOCH if it is missing, malformed or before 1970.

    Stores that do not know the date send the year 1, which `email.utils` would take for 2001.
    """
    year = _YEAR.search(text or "")
    date = parse_http_date(text) if year and int(year[1]) >= EPOCH.year else None
    return date or EPOCH


def parse_content_range(text: str | None) -> tuple[int, int, int | None]:
    """Return first byte, last byte and complete size of a 206, None for a size that is unknown. Raises ValueError."""
    match = _CONTENT_RANGE.fullmatch(text or "")
    if match is None:
        raise ValueError("the Content-Range is missing or malformed")
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if first > last or (size is not None and last >= size):
        raise ValueError(f"the Content-Range {first}-{last}/{match[3]} is invalid")
    return first, last, size


def write_condition(*, if_none_match: bool, if_match: str | None) -> dict[str, str]:
    """Return the headers of a conditional write: the object must not exist, or must have this ETag.

    Raises Unsupported for a weak ETag, which never matches (RFC 9110, 13.1.1).
    """
    condition = {"If-None-Match": "*"} if if_none_match else {}
    if if_match is not None:
        if is_weak(if_match):
            raise Unsupported(Code.INTERNAL, "the store's ETags are weak, so that a write cannot depend on one")
        condition["If-Match"] = etag_header(if_match)
    return condition
