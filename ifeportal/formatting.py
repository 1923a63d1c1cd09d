"""Formatting of figures for people. Pure: values and a clock in, text out.

One rule each, held by the pages here and by `static/js/format.js` alike (a shared table of cases tests both):
sizes are decimal (1 kB = 1,000 bytes, as disks and links are sold) with three digits, rounded down, so that what
is shown as held is never more than what is held; percent is whole and rounded down, so that 100% means every
byte; what is not known is said so and never shown as 0.
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
    """Bytes as `734 MB`; three digits, rounded down."""
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
    """Bytes per second as `12.3 MB/s`; a dash where there is none."""
    return NONE if value is None else f"{size(value)}/s"


def percent(value: int | None) -> str:
    """Whole percent as `42%`."""
    return UNKNOWN if value is None else f"{value}%"


def count(value: int | None) -> str:
    """A number of things as `12,345`."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(seconds: int | None) -> str:
    """A span of time as `45 s`, `12 min`, `2 h 05 min` or `3 d 4 h`, rounded down; a dash where there is none."""
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
    """Seconds to the end, between the two: `2 h 05 min to 3 h 10 min`; one of them where they read alike."""
    early, late = duration(earliest), duration(latest)
    if latest is None or early == late:
        return early
    return f"at most {late}" if earliest is None else f"{early} to {late}"


def free(stores: object) -> str:
    """What is free on the first disk that a heartbeat tells of, and how many more there are: `187 GB`, `187 GB +1`."""
    found = [store.get("free") for store in stores if isinstance(store, dict)] if isinstance(stores, list) else []
    if not found or not isinstance(found[0], int) or isinstance(found[0], bool) or found[0] < 0:
        return UNKNOWN
    return size(found[0]) + (f" +{len(found) - 1}" if len(found) > 1 else "")


def age(then: datetime | None, now: datetime) -> str:
    """How long ago `then` was: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `4 d ago`; `never` for None."""
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
    """How soon `then` is: `in 12 s`, `in 3 min`, `now`; rounded up to the second, then down."""
    seconds = 0 if then is None else ceil((then - now).total_seconds())
    if seconds < 1:
        return "now"
    return f"in {seconds} s" if seconds < _MINUTE else f"in {seconds // _MINUTE} min"


def instant(then: datetime) -> str:
    """A moment as `2026-12-01 14:03:22 UTC`."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(then: datetime) -> str:
    """A moment for programs, `2026-12-01T14:03:22.120Z`."""
    return then.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMATS: Final[Mapping[str, Callable[[int | None], str]]] = MappingProxyType(
    {"size": size, "rate": rate, "percent": percent, "count": count, "duration": duration}
)
