"""Checks that a file is a `.tgz` from its first bytes. Pure."""

from __future__ import annotations

import tarfile
import zlib
from typing import Final

HEAD: Final = 65_536  # bytes that are read: more than any gzip header and the compressed first block need
_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP: Final = 31  # wbits of zlib for gzip


def archive_fault(head: bytes) -> str:
    """Return why a file with these first bytes is not a `.tgz`, as the end of a sentence; "" if it may be one."""
    if not head:
        return "it is empty"
    if not head.startswith(_MAGIC):
        return "it is not compressed with gzip"
    try:
        block = zlib.decompressobj(_GZIP).decompress(head, tarfile.BLOCKSIZE)
    except zlib.error:
        return "its gzip data is damaged"
    if len(block) < tarfile.BLOCKSIZE:
        return "it ends within the first file header" if len(head) < HEAD else "it does not begin with a file header"
    if not any(block):
        return ""  # an archive without files
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return "it does not contain a tar archive"
    return ""
