"""Sizes and durations: parsed from text ("20MB", "1h30m") and formatted for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_UNITS: Final[Mapping[str, float]] = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{prefix + unit: 1000**power for power, prefix in enumerate("kmgt", 1) for unit in ("", "b")},
    **{prefix + unit: 1024**power for power, prefix in enumerate("kmgt", 1) for unit in ("i", "ib")},
    **{prefix + "bit": 1000**power / 8 for power, prefix in enumerate("kmgt", 1)},
}
# At most 20 digits: float() turns hundreds of digits into infinity.
_SIZE: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)(?:/s)?", re.ASCII)


def parse_size(text: str) -> int:
    """Return bytes from "20MB", "1.5 GiB", "20 Mbit" or "4096"; "/s" may follow. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text[:60]!r} is not a size; expected, for example, 20MB, 5 GB or 512 KiB")
    return round(float(match[1]) * _UNITS[match[2]])


MIB: Final = 1_048_576

_DURATIONS: Final[Mapping[str, float]] = {
    word: seconds
    for words, seconds in (
        ("ms millisecond milliseconds", 0.001),
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hour hours", 3600),
        ("d day days", 86_400),
        ("w week weeks", 604_800),
    )
    for word in words.split()
}

_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return seconds from "2s", "500 ms", "1h30m", "2 days" or "90". Raises ValueError."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    total, at = 0.0, 0
    while match := _DURATION_PART.match(text, at):
        if match[2] not in _DURATIONS:
            break
        total, at = total + float(match[1]) * _DURATIONS[match[2]], match.end()
    if not text or at != len(text):
        raise ValueError(f"{text!r} is not a duration; expected, for example, 2s, 5 minutes or 2 days")
    return total


_DECIMAL_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def format_size(size: float) -> str:
    """Return bytes as "734 MB"."""
    unit = 0
    while size >= 999.5 and unit < len(_DECIMAL_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_DECIMAL_UNITS[unit]}" if unit == 0 or size >= 9.95 else f"{size:.1f} {_DECIMAL_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """Return seconds as "45 s", "12 min", "3 h 05 min" or "2 days"."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} days"
