"""Cuts an object into the parts of a multipart upload. Pure; sizes in bytes.

The limits are those of AWS, which other stores share. The part size determines the object's ETag and must not change: a
publisher recognises by the ETag which files are in the bucket already. Sizes are the defaults of boto3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from loader.frozen import frozen

PART_SIZE: Final = 8 * 1_048_576  # a smaller object is sent in one request, a larger one in parts of at least this size
MIN_PART_SIZE: Final = 5 * 1_048_576  # of every part but the last
MAX_PART_SIZE: Final = 5 * 1_073_741_824
MAX_PARTS: Final = 10_000
_MD5: Final = re.compile(r"[0-9a-f]{32}")


@frozen
class PartRange:
    """Part `number` (from 1) is `size` bytes from offset `start` on."""

    number: int
    start: int
    size: int


def part_size_for(size: int, smallest: int = PART_SIZE) -> int:
    """Return the size of every part but the last: `smallest`, doubled until MAX_PARTS are enough.

    Raises ValueError if no part size is large enough.
    """
    part_size = smallest
    while part_size * MAX_PARTS < size:
        part_size *= 2
    part_size = min(part_size, MAX_PART_SIZE)
    if not part_size >= MIN_PART_SIZE or part_size * MAX_PARTS < size:
        raise ValueError(f"a multipart upload cannot have {size:,} bytes in parts of {smallest:,}")
    return part_size


def plan_parts(size: int, smallest: int = PART_SIZE) -> Iterator[PartRange]:
    """Yield the parts in order; an empty object has one part of 0 bytes. Raises ValueError as `part_size_for` does."""
    part_size = part_size_for(size, smallest)
    for number, start in enumerate(range(0, max(size, 1), part_size), 1):
        yield PartRange(number, start, min(part_size, size - start))


def multipart_etag(etags: Sequence[str]) -> str:
    """Return the ETag of the object made of parts with these ETags, "" if they are not MD5 sums (KMS)."""
    if not all(_MD5.fullmatch(etag.lower()) for etag in etags):
        return ""
    joined = b"".join(bytes.fromhex(etag) for etag in etags)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def check_part_number(number: int) -> None:
    """Raise ValueError unless `number` is from 1 to MAX_PARTS."""
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"the number of a part must be from 1 to {MAX_PARTS:,}, not {number}")
