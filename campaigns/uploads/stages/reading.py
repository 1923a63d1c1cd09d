"""Reads one version of an object ahead of what consumes it, in a thread of its own. Memory: BUFFERS blocks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Final

from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.interface import Body, Bucket

BLOCK: Final = MIB
BUFFERS: Final = 4
_LOOK: Final = 0.2  # seconds between two looks at the stop event


def read_blocks(
    media: Bucket, key: str, etag: str, size: int, start: int, stop: threading.Event
) -> Generator[memoryview, None, None]:
    """Yield the bytes of the object from `start` to its end, or until `stop` is set, in blocks of up to 1 MiB.

    A block is valid until the next is requested. Raises WorldError: OBJECT_CHANGED unless ETag and size are these.
    """
    if start == size:
        return
    with media.open(key, start=start, if_match=etag) as body:
        if (body.size, body.start) != (size, start):
            raise WorldError(Code.OBJECT_CHANGED, f"GET {key}: the object has changed")
        yield from _ReadAhead(body, size - start, stop)


class _ReadAhead:
    def __init__(self, body: Body, size: int, stop: threading.Event) -> None:
        self._body, self._left, self._stop = body, size, stop
        self._ended = threading.Event()
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._full: queue.Queue[memoryview | Exception | None] = queue.Queue()
        for _ in range(min(BUFFERS, -(-size // BLOCK))):
            self._free.put(memoryview(bytearray(min(BLOCK, size))))

    def __iter__(self) -> Iterator[memoryview]:
        thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        thread.start()
        try:
            while (block := self._full.get()) is not None:
                if isinstance(block, Exception):
                    raise block
                yield block
                self._free.put(block.obj if isinstance(block.obj, memoryview) else memoryview(block.obj))
        finally:
            self._ended.set()
            self._body.abort()
            thread.join()

    def _read(self) -> None:
        try:
            while self._left and not self._is_stopped() and (buffer := self._next_buffer()) is not None:
                count = self._fill(buffer)
                if count:
                    self._full.put(buffer[:count])
        except Exception as error:  # noqa: BLE001  the edge of a thread: raised where the blocks are consumed
            self._full.put(error)
        self._full.put(None)

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and self._left and not self._is_stopped():
            count = self._body.readinto(buffer[filled:])
            if not count:
                raise WorldError(Code.SHORT_BODY, "the object ended early")
            filled += count
            self._left -= count
        return filled

    def _next_buffer(self) -> memoryview | None:
        while not self._is_stopped():
            try:
                return self._free.get(timeout=_LOOK)
            except queue.Empty:
                continue
        return None

    def _is_stopped(self) -> bool:
        return self._stop.is_set() or self._ended.is_set()
