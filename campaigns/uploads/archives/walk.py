"""Unpacks a `.tgz` from standard input to its end and keeps nothing. Run as a program; imports no other of our modules.

Its argument is the number of bytes that any archive may unpack to. Prints one line: JSON with `fault`, the end of a
sentence, "" if the archive is whole. It limits its own memory and how far the data may expand; who starts it limits the
time.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import sys
import tarfile
import zlib
from typing import IO, Final

MEMORY: Final = 256 * 1024 * 1024  # bytes of address space
FREE_EXPANSION: Final = 1024 * 1024 * 1024  # bytes that any archive may unpack to
MAX_RATIO: Final = 200  # unpacked to packed beyond that
_BLOCK: Final = 256 * 1024


class Bomb(Exception):
    """The data expands beyond the limits."""


class _Counted(io.RawIOBase):
    """Counts the bytes that are read from a stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.count = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of a RawIOBase, any buffer
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self.count += len(block)
        return len(block)


class _Unpacked(io.RawIOBase):
    """The unpacked bytes. Reads raise Bomb."""

    def __init__(self, packed: _Counted, free: int, ratio: int) -> None:
        self._packed, self._free, self._ratio = packed, free, ratio
        self._stream = gzip.GzipFile(fileobj=io.BufferedReader(packed, _BLOCK), mode="rb")
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._count += len(block)
        if self._count > max(self._free, self._ratio * self._packed.count):
            raise Bomb
        return block


class _StrictHeader(tarfile.TarInfo):
    """tarfile takes a damaged header after the first file for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(str(error)) from error
            raise  # the end of the archive


def walk(stream: IO[bytes], *, free: int = FREE_EXPANSION, ratio: int = MAX_RATIO) -> str:
    """Return why the archive is not whole, "" if it is."""
    unpacked = _Unpacked(_Counted(stream), free, ratio)
    try:
        with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_StrictHeader) as archive:
            for _ in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # else it grows with each file
        while unpacked.read(_BLOCK):
            pass
    except Bomb:
        return "its content expands beyond every plausible size"
    except EOFError:
        return "it is truncated"
    except (gzip.BadGzipFile, zlib.error):
        return "its gzip data is damaged"
    except tarfile.TarError:
        return "its tar archive is damaged or truncated"
    except MemoryError:
        return "a header of its tar archive is too large"
    return ""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fault = walk(sys.stdin.buffer, free=int(sys.argv[1]))
    sys.stdout.write(json.dumps({"fault": fault}) + "\n")


if __name__ == "__main__":
    main()
