"""Packs a file of known size as the only file of a `.tgz`, in pieces that are each resumable. Pure.

Every piece is a complete gzip member; members in a row are one valid gzip file (RFC 1952, 2.2). So a killed worker
continues with the next member. The output depends on the input only. Films and music do not compress: a member whose
beginning does not shrink is stored without compression, which saves the time and costs 0.01 % of the size.
"""

from __future__ import annotations

import tarfile
import zlib
from typing import Final

SAMPLE: Final = 65_536  # bytes of a member that are tried
MAX_RATIO: Final = 0.9  # of a compressed sample, above which the member is stored
_FAST, _BEST_VALUE, _STORED = 1, 6, 0
_GZIP: Final = 31


def tar_header(name: str, size: int, modified: int) -> bytes:
    """Return the header of a regular file; `modified` in seconds since 1970. PAX, for long names and 8 GiB and more."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, modified, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def tar_end(size: int) -> bytes:
    """Return what follows the content of a file of `size` bytes: padding, and the end of the archive."""
    return bytes(-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


class GzipMember:
    """One gzip member. `packed`: bytes returned so far."""

    def __init__(self) -> None:
        self._compressor: zlib._Compress | None = None
        self.packed = 0

    def add(self, block: bytes | memoryview) -> bytes:
        if self._compressor is None:
            self._compressor = zlib.compressobj(_level(block), zlib.DEFLATED, _GZIP)
        return self._count(self._compressor.compress(block))

    def end(self) -> bytes:
        return self._count(self._compressor.flush()) if self._compressor else b""

    def _count(self, packed: bytes) -> bytes:
        self.packed += len(packed)
        return packed


def _level(block: bytes | memoryview) -> int:
    sample = bytes(block[:SAMPLE])
    return _BEST_VALUE if len(zlib.compress(sample, _FAST)) < MAX_RATIO * len(sample) else _STORED
