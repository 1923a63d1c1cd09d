"""Allocates the byte ranges of one item to connections. Pure.

Offsets are bytes from the start of the item, ends exclusive. Ranges are allocated close to the contiguous end, so
that the hash, which follows it, never lags far behind. When nothing is left to allocate, an idle connection takes the
upper half of the largest range in flight, so that the last bytes do not depend on one slow connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from loader.storage.byte_ranges import Extent, union

MIN_SPLIT: Final = 128 * 1024  # bytes: less is not worth a request of its own


@dataclass(eq=False)
class ByteRange:
    """Bytes on their way over one connection: the next to come is `position`; `end` may come nearer meanwhile."""

    start: int
    position: int
    end: int

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self.end - self.position


class RangeAllocator:
    """The map of one item of `size` bytes of which `received` are there. Not for several threads at once."""

    def __init__(self, size: int, held: Iterable[Extent] = ()) -> None:
        """Raises ValueError for bytes outside the item."""
        self.size = size
        self._received = union(held)
        self._running: list[ByteRange] = []
        if self._received and (self._received[0][0] < 0 or self._received[-1][1] > size):
            raise ValueError("bytes are held that the item does not have")

    @property
    def contiguous_end(self) -> int:
        """All bytes before it are held."""
        return self._received[0][1] if self._received and self._received[0][0] == 0 else 0

    @property
    def received(self) -> tuple[Extent, ...]:
        """All bytes that are there."""
        return tuple(self._received)

    @property
    def detached(self) -> tuple[Extent, ...]:
        """Those that are there besides the ones before the edge."""
        return tuple(extent for extent in self._received if extent[0] > 0)

    def allocate(self, length: int, window: int) -> ByteRange | None:
        """The next range to ask for, about `length` bytes, none at or after `window` bytes beyond the edge.

        If there is none, half of one that is on its way; None if even that is not worth a request.
        """
        start, end = next(self._free(), (self.size, self.size))
        if start < min(self.contiguous_end + window, self.size):
            # Not so that a crumb is left.
            return self._begin(start, start + length if end - start - length >= MIN_SPLIT else end)
        return self._split()

    def advance(self, taken: ByteRange, count: int) -> None:
        """So many more bytes of it are there."""
        self._received = union([*self._received, (taken.position, taken.position + count)])
        taken.position += count

    def release(self, taken: ByteRange) -> None:
        """It is not on its way any more; what did not come is free again."""
        self._running.remove(taken)

    def _begin(self, start: int, end: int) -> ByteRange:
        taken = ByteRange(start, start, end)
        self._running.append(taken)
        return taken

    def _split(self) -> ByteRange | None:
        widest = max(self._running, key=lambda running: running.remaining, default=None)
        if widest is None or widest.remaining < 2 * MIN_SPLIT:
            return None
        middle, end = widest.position + (widest.remaining + 1) // 2, widest.end
        widest.end = middle
        return self._begin(middle, end)

    def _free(self) -> Iterator[Extent]:
        """Neither held nor on its way, from the start on."""
        at = 0
        for start, end in union([*self._received, *((running.position, running.end) for running in self._running)]):
            if start > at:
                yield at, start
            at = end
        if at < self.size:
            yield at, self.size
