"""Writes a file from memory in a thread of its own, so that a slow disk does not stop the reader.

The file is split into blocks of BLOCK bytes, at most BLOCKS of them in memory. A full block is written past the page
cache (O_DIRECT) where possible: that saves a copy and a third of the CPU time. Bytes that wait longer, because the
link is slow, go through the page cache, so that a killed process loses next to nothing.

Both ways may be mixed in one file because they never meet in a page: writes only go upwards and are direct only
between page boundaries; the first byte that goes through the page cache is on such a boundary, or follows one that
went through it. The kernel writes out cached pages of a range before it writes there directly, and a reader through
the page cache afterwards reads again what was written past it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from loader.failpoints import failpoint

log = logging.getLogger("loader")

BLOCK: Final = 2 * 1024 * 1024  # bytes; a multiple of what any disk wants written at once
BLOCKS: Final = 2
SYNC_EVERY: Final = 64 * 1024 * 1024  # bytes: what a power cut can cost one item
_SECTOR: Final = 4096  # bytes: every disk takes direct writes of as much
_DIRECT_FROM: Final = 64 * 1024  # bytes; less is not worth a wait for the disk

_spare: list[mmap.mmap] = []  # memory that was used before costs no page faults
_MAX_SPARE: Final = 8


class BufferedWriter:
    """One file from an offset on. All but what it says of itself is for the thread that reads.

    They raise OSError if writing failed, in either thread; nothing more can be added then. `sync_failed`: what failed
    was a sync, so nobody knows what of the file is on the disk.
    """

    def __init__(
        self, descriptor: int, offset: int, flush_after: float, on_written: Callable[[int | None], None]
    ) -> None:
        """`descriptor` stays the caller's. `flush_after`: seconds that a byte may wait in memory.

        `on_written` is called, by either thread, before the first byte is written, unless it is also the last (None),
        and whenever the file is durable up to an offset.
        """
        self.added = self.written = offset
        self.sync_failed = False
        self._descriptor, self._flush_after, self._on_written = descriptor, flush_after, on_written
        self._durable = offset
        self._announced = False
        self._blocks: deque[mmap.mmap] = deque()
        self._base = offset - offset % BLOCK  # where the first of them begins
        self._waiting_since = 0.0
        self._direct = False
        self._may_direct = True
        self._error: OSError | None = None
        self._closed = False
        self._condition = threading.Condition()
        self._write_lock = threading.Lock()  # whoever writes holds it; it is taken before `_condition`
        self._writer: threading.Thread | None = None

    def buffer(self) -> memoryview:
        """Memory for what comes next, at least a byte. Waits for the disk if all of it is full."""
        with self._condition:
            if self._writer is None and self.added > self.written:
                # Not before the second read: many items come in one, and are written by whoever ends them.
                self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
                self._writer.start()
            if self.added >= self._base + len(self._blocks) * BLOCK:
                self._condition.wait_for(lambda: self._error or len(self._blocks) < BLOCKS)
                self._blocks.append(_new_block())
            self._check()
            return memoryview(self._blocks[-1])[self.added % BLOCK :]

    def add(self, count: int) -> None:
        """So many bytes were put into `buffer`."""
        with self._condition:
            self._check()
            if self.added == self.written:
                self._waiting_since = time.monotonic()
            self.added += count
            if self.added % BLOCK == 0:
                self._condition.notify_all()

    def flush(self, *, last: bool = False) -> None:
        """All that was added is in the file when this returns. `last`: all that ever will be."""
        with self._write_lock:
            self._announced |= last
            try:
                while self.written < self.added and not self._error:
                    self._write_block(self.added)
                self._go_direct(False)  # whoever reads the file next may read anything of it
            except OSError as error:
                self._fail(error)
        self._check()

    @property
    def failed(self) -> bool:
        """Nothing more can be added."""
        return self._error is not None

    def close(self) -> None:
        """Give the memory back; what was not flushed is forgotten."""
        with self._write_lock, self._condition:
            self._closed = True
            self._go_direct(False)
            while self._blocks:
                _recycle(self._blocks.popleft())
            self._condition.notify_all()

    def _check(self) -> None:
        if self._error:
            raise OSError(self._error.errno, self._error.strerror)

    def _fail(self, error: OSError) -> None:
        with self._condition:
            self._error = error
            self._condition.notify_all()

    # Either thread, holding the pen.

    def _write(self) -> None:
        """The thread that writes."""
        try:
            while self._await_work():
                with self._write_lock:
                    if self._closed:
                        return
                    self._write_block(self._due())
                    if self.written - self._durable >= SYNC_EVERY:
                        self._sync()
        except OSError as error:
            self._fail(error)
        except Exception:
            # The edge of a thread, for whose work another one waits.
            log.exception("While a part was written")
            self._fail(OSError(errno.EIO, "internal error"))

    def _await_work(self) -> bool:
        """Until something is due. False at the end."""
        with self._condition:
            while not self._closed and not self._error and self._due() == self.written:
                self._condition.wait(self._flush_after / 4)
            return not self._closed and not self._error

    def _due(self) -> int:
        """Up to where is to be written now: the end of a full block, or all if a byte has waited for long."""
        if self.added - self._base >= BLOCK:
            return self._base + BLOCK
        return self.added if self.added > self.written and self._overdue() else self.written

    def _overdue(self) -> bool:
        return time.monotonic() - self._waiting_since >= self._flush_after / 2

    def _write_block(self, end: int) -> None:
        """Write up to `end` or the end of the first block."""
        end = min(end, self._base + BLOCK)
        if end == self.written:
            return
        if not self._announced:
            self._announced = True
            self._on_written(None)
        started = time.monotonic()
        self._write_range(self.written, end)
        with self._condition:
            self.written, self._waiting_since = end, started
            if end == self._base + BLOCK:
                _recycle(self._blocks.popleft())
                self._base = end
                self._condition.notify_all()
        failpoint("chunk-kept")

    def _write_range(self, start: int, end: int) -> None:
        """The bytes of the first block between two offsets of the file: whole pages directly, the rest not."""
        aligned = end - end % _SECTOR
        if start % _SECTOR or aligned - start < _DIRECT_FROM:
            aligned = start
        block = memoryview(self._blocks[0])
        for begin, stop, direct in ((start, aligned, True), (aligned, end, False)):
            at = begin
            while at < stop:
                self._go_direct(direct and at % _SECTOR == 0)
                at += self._pwrite(block[at - self._base : stop - self._base], at)

    def _pwrite(self, data: memoryview, at: int) -> int:
        try:
            return os.pwrite(self._descriptor, data, at)
        except OSError as error:
            if not self._direct or error.errno != errno.EINVAL:
                raise
        # The file system takes the flag, but not the write.
        self._may_direct = False
        self._go_direct(False)
        return os.pwrite(self._descriptor, data, at)

    def _go_direct(self, direct: bool) -> None:
        direct &= self._may_direct
        if direct == self._direct:
            return
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags ^ os.O_DIRECT)
        except OSError:
            self._may_direct = False  # as on tmpfs
        else:
            self._direct = direct

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            # After a failed fsync nobody knows what is on disk; trying again would only say that all is well.
            self.sync_failed = True
            raise
        self._durable = self.written
        self._on_written(self._durable)


def _new_block() -> mmap.mmap:
    with contextlib.suppress(IndexError):
        return _spare.pop()
    return mmap.mmap(-1, BLOCK)


def _recycle(block: mmap.mmap) -> None:
    if len(_spare) < _MAX_SPARE:
        _spare.append(block)
