"""Sums of an object while it is read: SHA-256 and CRC-32 of the whole, SHA-256 of each part. Resumable.

The hash of the parts runs in a thread of its own beside that of the whole: both release the GIL.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from campaigns.hashing import resumable_sha256
from campaigns.hashing.resumable_sha256 import PlainSha256, Sha256


class PartMismatch(Exception):
    """A part does not have the SHA-256 that was announced for it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"part {number}")
        self.number = number


class ContentSums:
    """The sums so far. `count`: bytes hashed."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        """Continue from what `state` returned; from the start if that is unusable on this machine."""
        saved = saved or {}
        self._whole = resumable_sha256.resume(saved.get("sha256", ""))
        self._crc32 = int(saved.get("crc32", 0))
        if self._whole.count != saved.get("count", 0):
            self._whole, self._crc32 = resumable_sha256.resume(""), 0

    @property
    def count(self) -> int:
        return self._whole.count

    @property
    def can_resume(self) -> bool:
        return not isinstance(self._whole, PlainSha256)

    def update(self, block: memoryview) -> None:
        self._whole.update(block)
        self._crc32 = zlib.crc32(block, self._crc32)

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "sha256": self._whole.state(), "crc32": self._crc32}

    @property
    def sha256(self) -> str:
        return self._whole.hexdigest()

    @property
    def crc32(self) -> str:
        return f"{self._crc32:08x}"


class PartSums:
    """Compares the sums of the parts of an object with announced ones, in base64 by number. Use it as a context."""

    def __init__(self, part_size: int, announced: Mapping[int, str], start: int, state: str = "") -> None:
        """`start`: offset of the first byte; `state`: of the part in which it is. Raises ValueError if unusable."""
        self._part_size, self._announced = part_size, announced
        self._offset = start
        self._part: Sha256 = resumable_sha256.resume(state)
        if announced and self._part.count != start % part_size:
            raise ValueError("the saved state is not that of this part")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="part-sums")

    def submit(self, block: memoryview) -> Future[None]:
        """Hash a block in the thread. The result raises PartMismatch."""
        return self._thread.submit(self._update, block)

    def _update(self, block: memoryview) -> None:
        while self._announced and block:
            room = self._part_size - self._offset % self._part_size
            piece, block = block[:room], block[room:]
            self._part.update(piece)
            self._offset += len(piece)
            if len(piece) == room:
                self.end_part()

    def end_part(self) -> None:
        """Compare the part that ends at the current offset. Raises PartMismatch."""
        if not self._part.count:
            return
        number = -(-self._offset // self._part_size)
        digest = base64.b64encode(bytes.fromhex(self._part.hexdigest())).decode()
        self._part = resumable_sha256.resume("")
        if self._announced.get(number, digest) != digest:
            raise PartMismatch(number)

    def state(self) -> str:
        return self._part.state() if self._part.count else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
