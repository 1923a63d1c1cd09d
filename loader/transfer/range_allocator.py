"""Allocates the byte ranges of one item to connections. Pure.

Offsets are bytes from the start of the item, ends exclusive. Ranges are allocated close to the contiguous end, so
that the hash, which follows it, does not lag far behind. When nothing is left to allocate, an idle connection gets the
second half of the largest range in flight, so that the last bytes do not depend on one slow connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from loader.storage.byte_ranges import Extent, union

MIN_SPLIT: Final = 128 * 1024  # bytes; a smaller range is not worth a request


@dataclass(eq=False)
class ByteRange:
    """A range in flight over one connection. `position`: the next byte; `end` decreases if the range is split."""

    start: int
    position: int
    end: int

    @property
    def remaining(self) -> int:
        return self.end - self.position


class RangeAllocator:
    """Knows which bytes of one item of `size` bytes were received and which are in flight. Not thread-safe."""

    def __init__(self, size: int, received: Iterable[Extent] = ()) -> None:
        """Raises ValueError for bytes outside the item."""
        self.size = size
        self._received = union(received)
        self._running: list[ByteRange] = []
        if self._received and (self._received[0][0] < 0 or self._received[-1][1] > size):
            raise ValueError("received bytes are outside the item")

    @property
    def contiguous_end(self) -> int:
        """The end of the bytes that were received without a gap from the start."""
        return self._received[0][1] if self._received and self._received[0][0] == 0 else 0

    @property
    def received(self) -> tuple[Extent, ...]:
        return tuple(self._received)

    @property
    def detached(self) -> tuple[Extent, ...]:
        """The received extents after the first gap."""
        return tuple(extent for extent in self._received if extent[0] > 0)

    def allocate(self, length: int, window: int) -> ByteRange | None:
        """Return the next range to request, of about `length` bytes.

        It starts less than `window` bytes after the contiguous end. If there is none, it is half of a range in flight.
        None if that is not worth a request either.
        """
        start, end = next(self._free(), (self.size, self.size))
        if start < min(self.contiguous_end + window, self.size):
            # A rest too small for a request of its own is included.
            return self._begin(start, start + length if end - start - length >= MIN_SPLIT else end)
        return self._split()

    def advance(self, byte_range: ByteRange, count: int) -> None:
        """Record that the next `count` bytes of the range were received."""
        self._received = union([*self._received, (byte_range.position, byte_range.position + count)])
        byte_range.position += count

    def release(self, byte_range: ByteRange) -> None:
        """Make the bytes of the range that were not received available again."""
        self._running.remove(byte_range)

    def _begin(self, start: int, end: int) -> ByteRange:
        byte_range = ByteRange(start, start, end)
        self._running.append(byte_range)
        return byte_range

    def _split(self) -> ByteRange | None:
        widest = max(self._running, key=lambda running: running.remaining, default=None)
        if widest is None or widest.remaining < 2 * MIN_SPLIT:
            return None
        middle, end = widest.position + (widest.remaining + 1) // 2, widest.end
        widest.end = middle
        return self._begin(middle, end)

    def _free(self) -> Iterator[Extent]:
        """Yield the extents that are neither received nor in flight, in order."""
        position = 0
        for start, end in union([*self._received, *((running.position, running.end) for running in self._running)]):
            if start > position:
                yield position, start
            position = end
        if position < self.size:
            yield position, self.size
