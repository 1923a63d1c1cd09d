"""One part of a multipart upload that the worker writes: buffered in a temporary file, never in memory."""

from __future__ import annotations

import os
import tempfile
from typing import Self

from loader.errors import Code, WorldError
from loader.s3.http.payload import FileSlice


class PartFile:
    """A file for at most one part. Use it as a context."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self.size = 0

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Append a block. Raises WorldError (IO_ERROR)."""
        try:
            rest = memoryview(block)
            while rest:
                written = os.pwrite(self._file.fileno(), rest, self.size)
                self.size += written
                rest = rest[written:]
        except OSError as error:
            raise WorldError(Code.IO_ERROR, f"the temporary directory cannot be written ({error.strerror})") from error

    @property
    def payload(self) -> FileSlice:
        return FileSlice(self._file.fileno(), 0, self.size)

    def clear(self) -> None:
        self._file.truncate(0)
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
