"""Writes a file from memory in a separate thread, so that a slow disk does not stop the download.

The file is split into blocks of BLOCK bytes, of which at most BLOCKS are in memory. A full block is written past the
page cache (O_DIRECT) where possible, which saves a copy and a third of the CPU time. If the link is too slow to fill a
block in time, its bytes go through the page cache, so that a killed process loses few of them.

Direct and cached writes can be mixed in one file because they never share a page. Offsets only increase, and direct
writes start and end at page boundaries. The first cached byte is at such a boundary too, or follows a cached byte.
Before and after a direct write the kernel drops the cached pages of its range, so cached reads see what was written
(`generic_file_direct_write` in mm/filemap.c).
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
from loader.storage.directory import sync

log = logging.getLogger("loader")

BLOCK: Final = 2 * 1024 * 1024  # bytes; a multiple of the sector and stripe sizes of disks
BLOCKS: Final = 2
SYNC_EVERY: Final = 64 * 1024 * 1024  # bytes: what a power cut can cost one item
_SECTOR: Final = 4096  # bytes: the alignment of direct writes that every disk accepts, and the page size
_DIRECT_FROM: Final = 64 * 1024  # bytes; a smaller direct write is not worth waiting for the disk

_spare: list[mmap.mmap] = []  # reused, because new memory costs page faults
_MAX_SPARE: Final = 8


class BufferedWriter:
    """Writes one file from an offset on. Its methods are for the one thread that fills the buffer.

    They raise OSError if a write failed, in either thread; nothing more can be added then. `added` and `written` are
    offsets in the file. `sync_failed`: a sync failed, so it is unknown which bytes are on disk.
    """

    def __init__(
        self, descriptor: int, offset: int, flush_after: float, on_written: Callable[[int | None], None]
    ) -> None:
        """`flush_after`: seconds that a byte may wait in memory. The caller closes `descriptor`.

        Either thread calls `on_written`: with None before the first write, unless that is the last one too, and with
        an offset when the file is durable up to there.
        """
        self.added = self.written = offset
        self.sync_failed = False
        self._descriptor, self._flush_after, self._on_written = descriptor, flush_after, on_written
        self._durable = offset
        self._announced = False
        self._blocks: deque[mmap.mmap] = deque()
        self._base = offset - offset % BLOCK  # the offset of the first block
        self._waiting_since = 0.0
        self._direct = False
        self._may_direct = True
        self._error: OSError | None = None
        self._closed = False
        self._condition = threading.Condition()
        self._write_lock = threading.Lock()  # held while writing; acquired before `_condition`
        self._writer: threading.Thread | None = None

    def buffer(self) -> memoryview:
        """Return memory for the bytes that follow, at least one byte. Wait for the disk if all blocks are full."""
        with self._condition:
            if self._writer is None and self.added > self.written:
                # Not before the second call: most small items arrive in one read and are written by `flush`.
                self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
                self._writer.start()
            if self.added >= self._base + len(self._blocks) * BLOCK:
                self._condition.wait_for(lambda: self._error or len(self._blocks) < BLOCKS)
                self._blocks.append(_new_block())
            self._check()
            return memoryview(self._blocks[-1])[self.added % BLOCK :]

    def add(self, count: int) -> None:
        """Take `count` bytes from the start of the last `buffer`."""
        with self._condition:
            self._check()
            if self.added == self.written:
                self._waiting_since = time.monotonic()
            self.added += count
            if self.added % BLOCK == 0:
                self._condition.notify_all()

    def flush(self, *, last: bool = False) -> None:
        """Write everything that was added. `last`: no more bytes will follow."""
        with self._write_lock:
            self._announced |= last
            try:
                while self.written < self.added and not self._error:
                    self._write_block(self.added)
                self._go_direct(False)  # the next reads through this descriptor may be unaligned
            except OSError as error:
                self._fail(error)
        self._check()

    @property
    def failed(self) -> bool:
        return self._error is not None

    def close(self) -> None:
        """Free the memory and end the thread. Bytes that were not flushed are lost."""
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

    # From here on: either thread, holding `_write_lock`.

    def _write(self) -> None:
        """Run the writing thread."""
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
        except BaseException:
            # The edge of a thread: the other one waits for its result.
            log.exception("Failed to write a partial file")
            self._fail(OSError(errno.EIO, "internal error"))

    def _await_work(self) -> bool:
        """Wait until there is something to write. Return False once the writer is closed or has failed."""
        with self._condition:
            while not self._closed and not self._error and self._due() == self.written:
                self._condition.wait(self._flush_after / 4)
            return not self._closed and not self._error

    def _due(self) -> int:
        """Return the offset to write up to now: the end of a full block, or everything if a byte has waited long."""
        if self.added - self._base >= BLOCK:
            return self._base + BLOCK
        return self.added if self.added > self.written and self._overdue() else self.written

    def _overdue(self) -> bool:
        return time.monotonic() - self._waiting_since >= self._flush_after / 2

    def _write_block(self, end: int) -> None:
        """Write up to `end` or to the end of the first block, whichever comes first."""
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
        """Write the bytes of the first block between two file offsets: full pages directly, the rest cached."""
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
        # Some file systems accept O_DIRECT in fcntl(2), but fail the write with EINVAL.
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
            self._may_direct = False  # refused, for example by tmpfs before Linux 6.6
        else:
            self._direct = direct

    def _sync(self) -> None:
        try:
            sync(self._descriptor, os.fdatasync)
        except OSError:
            # After a failed fsync the kernel may report success the next time, although the bytes are lost.
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
