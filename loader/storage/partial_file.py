"""The partial file of an item: appending, resuming, and its durable installation under the final name.

`<content>.tgz.part` has bytes of the object, without gaps unless several connections wrote them. Its state file says
which bytes of which object they are (`loader.storage.partial_state_file`). Without an intact state the bytes are
downloaded again. Touches only the directories it is given. Raises WorldError.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.errors import Code, Stopped, WorldError
from loader.failpoints import failpoint
from loader.storage.buffered_writer import SYNC_EVERY, BufferedWriter
from loader.storage.byte_ranges import Extent
from loader.storage.directory import Directory, Durability, sync, translate_disk_errors
from loader.storage.partial_state_file import PartialStateFile

_BLOCK: Final = 1024 * 1024


class PartialFile:
    """A partial file. Used by one thread, apart from what `open_for_ranges` allows.

    `written_bytes`: bytes in the file before the first gap. `detached`: the ranges after it. Appended bytes that are
    still in memory (`loader.storage.buffered_writer`) are already part of the hash. After an error of the disk only
    `save`, `discard` and `close` may be called. Methods raise WorldError.

    One class of more than 250 lines, because the file, its hash, its state file and its gaps change together: each
    method leaves a state on disk that declares no byte durable that is not.
    """

    def __init__(self, folder: Directory, item: Item, version: int | None, boot: str | None = None) -> None:
        self.item = item
        self.written_bytes = 0
        self.detached: tuple[Extent, ...] = ()
        self.etag = ""
        self._folder = folder
        self._file, self._state = f"{item.name}{TGZ}.part", PartialStateFile(folder, item, version, boot)
        self._descriptor = -1
        self._writer: BufferedWriter | None = None
        self._has_ranges = False
        self._may_have_file = True
        self._hash = hashlib.sha256()

    @property
    def last_modified(self) -> str:
        """Date of the object, as it was given to `restart`."""
        return self._state.last_modified

    @property
    def contiguous_bytes(self) -> int:
        """Bytes before the first gap, including those that are still in memory."""
        return self._writer.added if self._writer else self.written_bytes

    @property
    def bytes_done(self) -> int:
        """Bytes in the file, before and after gaps."""
        return self.written_bytes + sum(end - start for start, end in self.detached)

    @property
    def missing(self) -> int:
        return self.item.size - self.bytes_done

    @property
    def sha256(self) -> str:
        """The hash of the bytes before the first gap, in hexadecimal digits."""
        return self._hash.hexdigest()

    @property
    def is_complete(self) -> bool:
        """True if all bytes are there. Whether they are correct is checked by `finish`."""
        return self._descriptor >= 0 and self.contiguous_bytes == self.item.size

    @property
    def is_intact(self) -> bool:
        """True if all bytes are there and have the hash of the manifest."""
        return self.is_complete and self.item.sha256 in (None, self.sha256)

    @staticmethod
    def resumable_bytes(folder: Directory, item: Item, boot: str | None = None) -> int:
        """Return how many bytes of the item `resume` would find, without reading them."""
        _, extents = PartialStateFile(folder, item, None, boot).load()
        return sum(end - start for start, end in extents)

    def resume(self, stop: threading.Event) -> None:
        """Hash what is on disk and continue from there. Raises WorldError, Stopped."""
        with translate_disk_errors(self._file):
            state, extents = self._state.load()
            if state is None or not extents:
                self.discard()
                return
            self._descriptor = self._folder.open_file(self._file, os.O_RDWR)
            os.ftruncate(self._descriptor, extents[-1][1])
            self._rehash(extents[0][1], stop)
            self.etag = state.etag
            self._state.resume(state, self.written_bytes)
            self._has_ranges = state.extents is not None
            self.detached = tuple(extents[1:])
            self.end_ranges()

    def _rehash(self, size: int, stop: threading.Event | None) -> None:
        buffer = memoryview(bytearray(_BLOCK))
        while self.written_bytes < size:
            if stop and stop.is_set():
                raise Stopped
            count = os.preadv(self._descriptor, [buffer[: size - self.written_bytes]], self.written_bytes)
            if count == 0:
                raise WorldError(Code.IO_ERROR, f"{self._file}: the file is shorter than its state says")
            self._hash.update(buffer[:count])
            self.written_bytes += count

    def restart(self, etag: str, last_modified: str = "") -> None:
        """Discard all bytes and start with the object of this ETag and, if known, this date."""
        self.discard()
        with translate_disk_errors(self._file):
            self.etag, self._state.last_modified = etag, last_modified
            self._may_have_file = True
            self._descriptor = self._folder.open_file(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            self._check_size()
            failpoint("part-begun")

    def _check_size(self) -> None:
        """Raise OSError EFBIG before the first byte if the file system has a limit below the item's size."""
        try:
            os.lseek(self._descriptor, self.item.size, os.SEEK_SET)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOVERFLOW):
                raise
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG)) from error
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def write_buffer(self, flush_after: float) -> memoryview:
        """Return memory for the bytes that follow. Pass the filled part of it to `append`.

        `flush_after`: seconds after which bytes are written even if the buffer is not full. A kill loses what is in it.
        """
        with self._writing():
            if self._writer is None:
                self._writer = BufferedWriter(self._descriptor, self.written_bytes, flush_after, self._on_written)
            return self._writer.buffer()

    def append(self, data: memoryview) -> None:
        """Append the first bytes of the last `write_buffer`."""
        self._hash.update(data)
        if self._writer:
            with self._writing():
                self._writer.add(len(data))
            self.written_bytes = self._writer.written

    def flush(self, *, last: bool = False) -> None:
        """Write all appended bytes to the file and end the writing thread. `last`: no more bytes will follow."""
        if self._writer:
            with self._writing():
                self._writer.flush(last=last)
            self._close_writer()

    def _close_writer(self) -> None:
        if self._writer:
            self._writer.close()
            self.written_bytes, self._writer = self._writer.written, None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with translate_disk_errors(self._file):
            try:
                yield
            except OSError:
                if self._writer and self._writer.sync_failed:
                    self.discard()
                elif self._writer:
                    self.written_bytes = self._writer.written
                raise

    def _on_written(self, durable: int | None) -> None:
        """Called before the first write (None) and after each sync, by the thread that writes."""
        if durable is None:
            # Not synced: it declares no more bytes durable than the state before it, and a kill does not lose it.
            self._write_state("nothing")
        else:
            self._state.write_synced(self.etag, self._extents(), durable)

    def open_for_ranges(self) -> int:
        """Return a new descriptor for another thread to write ranges with; the caller closes it."""
        with translate_disk_errors(self._file):
            if not self._has_ranges:
                self._has_ranges = True
                # Before there is a gap: from now on the length of the file says nothing.
                self._write_state("bytes")
            return os.dup(self._descriptor)

    def hash_contiguous(self, extents: Sequence[Extent], flush_after: float) -> None:
        """Hash the bytes of `extents`, which are all that is written, up to the first gap.

        Record them if the state is older than `flush_after` seconds. Do nothing if the bytes were discarded.
        """
        if self._descriptor < 0:
            return
        with translate_disk_errors(self._file):
            contiguous = extents[0][1]
            self.detached = tuple(extents[1:])
            self._rehash(contiguous, None)
            if self.written_bytes - self._state.durable_bytes >= SYNC_EVERY:
                self._sync()
            elif self._state.seconds_since_write() >= flush_after:
                self._write_state("bytes")

    def end_ranges(self) -> None:
        """Continue as a file without gaps, if there are none. No other thread may be writing."""
        if self._has_ranges and not self.detached:
            with translate_disk_errors(self._file):
                os.ftruncate(self._descriptor, self.written_bytes)
                self._has_ranges = False
                self._write_state("bytes")

    def save(self) -> None:
        """Make all bytes durable, so that the download can resume after a power cut."""
        if self._descriptor >= 0:
            if self._writer and not self._writer.failed:
                self.flush()
            with translate_disk_errors(self._file):
                self._sync()

    def _sync(self) -> None:
        try:
            sync(self._descriptor, os.fdatasync)
        except OSError:
            # After a failed fsync the kernel may report success the next time, although the bytes are lost.
            self.discard()
            raise
        self._state.write_synced(self.etag, self._extents(), self.written_bytes)

    def _write_state(self, durability: Durability) -> None:
        self._state.write(self.etag, self._extents(), durability)

    def _extents(self) -> tuple[Extent, ...] | None:
        return ((0, self.written_bytes), *self.detached) if self._has_ranges else None

    def discard(self) -> None:
        """Remove the partial file and its state."""
        self._close_file()
        self.written_bytes, self.etag, self._hash = 0, "", hashlib.sha256()
        self.detached, self._has_ranges = (), False
        if self._may_have_file:
            with translate_disk_errors(self._file):
                self._folder.remove(self._file)
                self._state.remove()
            self._may_have_file = False

    def finish(
        self, target: Directory, name: str, before_rename: Callable[[os.stat_result], None] = lambda status: None
    ) -> os.stat_result:
        """Check size and hash, make the file durable and rename it. The state file stays until `remove_state`.

        Return the final status of the file, with which `before_rename` is called. Raises WorldError: SIZE_MISMATCH or
        HASH_MISMATCH, after discarding the bytes, or an error of the disk.
        """
        failpoint("last-byte")
        if self.contiguous_bytes != self.item.size:
            self._fail(
                Code.SIZE_MISMATCH, f"{self.contiguous_bytes} bytes arrived, campaign.json says {self.item.size}"
            )
        failpoint("size-checked")
        if self.item.sha256 is not None and self.sha256 != self.item.sha256:
            self._fail(Code.HASH_MISMATCH, f"SHA-256 is {self.sha256}, campaign.json says {self.item.sha256}")
        failpoint("hash-checked")
        self.flush(last=True)
        with translate_disk_errors(self._file):
            try:
                sync(self._descriptor)
            except OSError:
                self.discard()
                raise
            failpoint("part-synced")
            status = os.fstat(self._descriptor)
            self._close_file()
            failpoint("part-closed")
            before_rename(status)
            self._folder.move(self._file, target, name)
            failpoint("renamed")
            target.fsync()
            failpoint("folder-synced")
            return status

    def _fail(self, code: Code, text: str) -> None:
        self.discard()
        raise WorldError(code, f"{self.item.name}{TGZ}: {text}")

    def remove_state(self) -> None:
        with translate_disk_errors(self._file):
            self._state.remove()

    def close(self) -> None:
        """Write what is in memory, as far as possible, and close the file. Nothing is synced."""
        with contextlib.suppress(WorldError):
            self.flush()
        self._close_file()

    def _close_file(self) -> None:
        self._close_writer()
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
