"""Multipart ETags: compute and recognise the ETag of an object that was uploaded in parts. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from loader.contract.units import MIB

# What boto3 does by default: from this size on an object is sent in parts of this size, and its ETag is made of theirs.
PART_SIZE: Final = 8 * MIB


def multipart_etag(parts: Sequence[bytes], size: int) -> str:
    """The ETag of an object made of parts with these MD5 sums."""
    if size < PART_SIZE:
        return parts[0].hex()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
