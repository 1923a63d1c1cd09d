"""Numbers of bytes as people write them: "20MB", "1.5 GiB", "20 Mbit/s", "4096". Standard library only; pure."""

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
# Digits are counted: a number of hundreds of them is infinite to a computer.
_SIZE: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)(?:/s)?", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes from "20MB", "1.5 GiB", "20 Mbit" or "4096" ("/s" may follow). Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text[:60]!r} is not a size; write it like 20MB, 5 GB or 512 KiB")
    return round(float(match[1]) * _UNITS[match[2]])
