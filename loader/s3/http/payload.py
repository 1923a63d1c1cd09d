"""Bodies of requests: bytes, or a slice of an open file, in blocks. Reads only the given files."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from typing import Final

from loader.errors import Code, WorldError
from loader.frozen import frozen

_BLOCK: Final = 262_144  # bytes of a slice in memory at a time


@frozen
class FileSlice:
    """`size` bytes of an open file from `start` on. The file's position is neither used nor changed."""

    descriptor: int
    start: int
    size: int

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in order. Raises WorldError (IO_ERROR), also if the file is now too short."""
        offset, end = self.start, self.start + self.size
        while offset < end:
            try:
                block = os.pread(self.descriptor, min(_BLOCK, end - offset), offset)
            except OSError as error:
                raise WorldError(Code.IO_ERROR, f"the file cannot be read ({error.strerror})") from error
            if not block:
                raise WorldError(Code.IO_ERROR, f"the file ends at byte {offset}, before byte {end}")
            offset += len(block)
            yield block


Payload = bytes | FileSlice


def payload_size(payload: Payload) -> int:
    """Return the length in bytes."""
    return payload.size if isinstance(payload, FileSlice) else len(payload)


def payload_blocks(payload: Payload) -> Iterator[bytes]:
    """Yield the bytes in order, block by block. Raises WorldError (IO_ERROR)."""
    if isinstance(payload, FileSlice):
        yield from payload.blocks()
    else:
        yield from (payload[start : start + _BLOCK] for start in range(0, len(payload), _BLOCK))


@frozen
class PayloadDigests:
    """Hexadecimal SHA-256, which is signed, and base64 of the MD5: the value of Content-MD5."""

    sha256: str
    md5: str


def payload_digests(payload: Payload) -> PayloadDigests:
    """Read the payload once and return its digests. Raises WorldError (IO_ERROR)."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for block in payload_blocks(payload):
        sha256.update(block)
        md5.update(block)
    return PayloadDigests(sha256.hexdigest(), base64.b64encode(md5.digest()).decode())
