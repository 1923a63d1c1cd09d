"""Formatting of numbers and times for people. Pure: takes values and the current time, returns text.

`static/js/format.js` implements the same rules; one table of cases tests both. Sizes are decimal (1 kB = 1,000 bytes,
as disks and links are sold) with three digits, rounded down, so that the page never shows more bytes than there are.
Percent is rounded down, so that 100% means every byte. An unknown value is shown as unknown, never as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import ceil
from types import MappingProxyType
from typing import Final

UNKNOWN: Final = "unknown"
NONE: Final = "—"
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def size(value: int | None) -> str:
    """Format bytes as `734 MB`: three digits, rounded down."""
    if value is None:
        return UNKNOWN
    if value < 1_000:
        return f"{value} B"
    power = min((len(str(value)) - 1) // 3, len(_UNITS))
    unit, factor = _UNITS[power - 1], 1_000**power
    whole = value // factor
    digits = 2 if whole < 10 else 1 if whole < 100 else 0
    scaled = value // (factor // 10**digits)
    if not digits:
        return f"{scaled:,} {unit}"
    return f"{scaled // 10**digits}.{scaled % 10**digits:0{digits}d} {unit}"


def rate(value: int | None) -> str:
    """Format bytes per second as `12.3 MB/s`; None as a dash."""
    return NONE if value is None else f"{size(value)}/s"


def percent(value: int | None) -> str:
    """Format a whole percentage as `42%`."""
    return UNKNOWN if value is None else f"{value}%"


def count(value: int | None) -> str:
    """Format a count as `12,345`."""
    return UNKNOWN if value is None else f"{value:,}"


def quantity(number: int, noun: str) -> str:
    """A number of things with their name: `1 tail`, `12 tails`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def duration(seconds: int | None) -> str:
    """Format seconds as `45 s`, `12 min`, `2 h 05 min` or `3 d 4 h`, rounded down; None as a dash."""
    if seconds is None:
        return NONE
    if seconds < _MINUTE:
        return f"{max(seconds, 0)} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE:02d} min"
    return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"


def band(earliest: int | None, latest: int | None) -> str:
    """Format a range of seconds as `2 h 05 min to 3 h 10 min`; as one duration if both look the same."""
    early, late = duration(earliest), duration(latest)
    if latest is None or early == late:
        return early
    return f"at most {late}" if earliest is None else f"{early} to {late}"


def free(stores: object) -> str:
    """Format the free space of the first store in a heartbeat, and the number of further stores: `187 GB +1`."""
    values = [store.get("free") for store in stores if isinstance(store, dict)] if isinstance(stores, list) else []
    if not values or not isinstance(values[0], int) or isinstance(values[0], bool) or values[0] < 0:
        return UNKNOWN
    return size(values[0]) + (f" +{len(values) - 1}" if len(values) > 1 else "")


def age(then: datetime | None, now: datetime) -> str:
    """Format the age of `then`: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `4 d ago`; `never` for None."""
    if then is None:
        return "never"
    seconds = int((now - then).total_seconds())
    if seconds < 1:
        return "now"
    for limit, unit, word in ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds // unit} {word} ago"
    return f"{seconds // _DAY} d ago"


def until(then: datetime | None, now: datetime) -> str:
    """Format the time until `then`: `in 12 s`, `in 3 min`, `now`. Seconds are rounded up, minutes down."""
    seconds = 0 if then is None else ceil((then - now).total_seconds())
    if seconds < 1:
        return "now"
    return f"in {seconds} s" if seconds < _MINUTE else f"in {seconds // _MINUTE} min"


def yes_no(value: bool | None) -> str:
    return UNKNOWN if value is None else "Yes" if value else "No"


def instant(then: datetime) -> str:
    """Format a timestamp as `2026-12-01 14:03:22 UTC`."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(then: datetime) -> str:
    """Format a timestamp for programs as `2026-12-01T14:03:22.120Z` (ISO 8601)."""
    return then.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMATS: Final[Mapping[str, Callable[[int | None], str]]] = MappingProxyType(
    {"size": size, "rate": rate, "percent": percent, "count": count, "duration": duration}
)
