"""HTTP headers of a store: dates, content ranges and conditions. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


def parse_http_date(text: str | None) -> datetime | None:
    """Return the date of a header in UTC, None if it is missing or malformed."""
    try:
        date = parsedate_to_datetime(text or "")
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: in UTC the date is out of range
        return None


def parse_content_range(text: str | None) -> tuple[int, int, int]:
    """Return first byte, last byte and complete size of a 206. Raises ValueError."""
    match = _CONTENT_RANGE.fullmatch(text or "")
    if match is None:
        raise ValueError("the Content-Range is missing or malformed")
    first, last, size = (int(number) for number in match.groups())
    if not first <= last < size:
        raise ValueError(f"the Content-Range {first}-{last}/{size} is invalid")
    return first, last, size


def write_condition(*, if_none_match: bool, if_match: str | None) -> dict[str, str]:
    """Return the headers of a conditional write: the object must not exist, or must have this ETag."""
    condition = {"If-None-Match": "*"} if if_none_match else {}
    if if_match is not None:
        condition["If-Match"] = f'"{if_match}"'
    return condition
