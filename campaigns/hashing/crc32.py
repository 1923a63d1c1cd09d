"""CRC-32 as ZIP files have it, in 8 hexadecimal digits, which are also its state. Pure."""

from __future__ import annotations

import re
import zlib
from typing import Final

FIELD: Final = "crc32"  # of an item in a manifest; loaders keep it as a field that they do not know
EMPTY: Final = "00000000"  # of no bytes
_CRC32: Final = re.compile(r"[0-9a-fA-F]{8}")


def parse(value: object) -> str:
    """Return the digits in lower case; "" for anything else."""
    return value.lower() if isinstance(value, str) and _CRC32.fullmatch(value) else ""


def update(crc32: str, block: memoryview | bytes) -> str:
    """Return the CRC-32 after the next bytes; "" if it is unknown."""
    return f"{zlib.crc32(block, int(crc32, 16)):08x}" if crc32 else ""
