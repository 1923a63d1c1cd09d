"""One unfinished item on disk: its bytes, its state, and the durable installation under its final name.

`<content>.tgz.part` holds bytes of the object, contiguous unless several connections wrote them; `<content>.tgz.json`
beside it says of which object and, where there may be gaps, which bytes (`loader.storage.partial_state`). A torn or
foreign state is never believed: its bytes are downloaded again. Raises WorldError; touches only the directory it is
given.
"""

from __future__ import annotations

import contextlib
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
from loader.storage.directory import Directory, Durability, translate_disk_errors
from loader.storage.partial_state_file import PartialStateFile

_BLOCK: Final = 1024 * 1024


class PartialFile:
    """The bytes kept of one item. Used by one thread, but see `open_for_ranges`.

    `written_bytes` counts the bytes before the first gap that are in the file; `detached` says which lie behind it.
    What was added and waits in memory to be written (`loader.storage.buffered_writer`) is in the hash already. After an
    error of the disk a part can only be saved, dropped or closed.
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
    def contiguous_bytes(self) -> int:
        """The bytes before the first gap, those included that wait in memory."""
        return self._writer.added if self._writer else self.written_bytes

    @property
    def bytes_done(self) -> int:
        """All bytes kept, before and behind gaps."""
        return self.written_bytes + sum(end - start for start, end in self.detached)

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.item.size - self.bytes_done

    @property
    def sha256(self) -> str:
        """Of the bytes before the first gap, in hex."""
        return self._hash.hexdigest()

    @property
    def is_complete(self) -> bool:
        """All bytes are there; whether they are the right ones, `finish` finds out."""
        return self._descriptor >= 0 and self.contiguous_bytes == self.item.size

    @staticmethod
    def resumable_bytes(folder: Directory, item: Item, boot: str | None = None) -> int:
        """How many bytes a `PartialFile` made now would go on from, without reading them."""
        _, extents = PartialStateFile(folder, item, None, boot).load()
        return sum(end - start for start, end in extents)

    def resume(self, stop: threading.Event) -> None:
        """Take up what is on disk, by hashing it again. Raises WorldError, Stopped."""
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
                raise WorldError(Code.IO_ERROR, f"{self._file}: it ends before its size")
            self._hash.update(buffer[:count])
            self.written_bytes += count

    def restart(self, etag: str) -> None:
        """Start anew with the object of this ETag: forget all bytes. Raises WorldError."""
        self.discard()
        with translate_disk_errors(self._file):
            self.etag = etag
            self._may_have_file = True
            self._descriptor = self._folder.open_file(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            failpoint("part-begun")

    def write_buffer(self, flush_after: float) -> memoryview:
        """Memory for the bytes that come next; hand what was filled of it to `append`. Raises WorldError.

        `flush_after`: seconds that bytes may wait in memory. Before they are in the file a kill costs them.
        """
        with self._writing():
            if self._writer is None:
                self._writer = BufferedWriter(self._descriptor, self.written_bytes, flush_after, self._on_written)
            return self._writer.buffer()

    def append(self, data: memoryview) -> None:
        """Append the beginning of the last `write_buffer`, filled. Raises WorldError."""
        self._hash.update(data)
        if self._writer:
            with self._writing():
                self._writer.add(len(data))
            self.written_bytes = self._writer.written

    def flush(self, *, last: bool = False) -> None:
        """Write all appended bytes to the file, `last`: and no more will follow. Raises WorldError.

        When this returns, the writing thread no longer uses any of them.
        """
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
        """Called by whichever thread writes."""
        if durable is None:
            # Survives a kill; a power cut loses no durable bytes that only a newer state would tell of.
            self._write_state("nothing")
        else:
            self._state.write_synced(self.etag, self._extents(), durable)

    # Bytes that come to several places at once.

    def open_for_ranges(self) -> int:
        """A descriptor for whoever writes such bytes; it is theirs to close. Raises WorldError."""
        with translate_disk_errors(self._file):
            if not self._has_ranges:
                self._has_ranges = True
                # Before the first gap: from now on the length of the file says nothing.
                self._write_state("bytes")
            return os.dup(self._descriptor)

    def hash_contiguous(self, extents: Sequence[Extent], flush_after: float) -> None:
        """These bytes are written: hash up to the first gap; note them, if so many seconds passed since it was done.

        Nothing happens to a part that was dropped. Raises WorldError.
        """
        if self._descriptor < 0:
            return
        with translate_disk_errors(self._file):
            edge = extents[0][1]
            self.detached = tuple(extents[1:])
            self._rehash(edge, None)
            if self.written_bytes - self._state.durable_bytes >= SYNC_EVERY:
                self._sync()
            elif self._state.seconds_since_write() >= flush_after:
                self._write_state("bytes")

    def end_ranges(self) -> None:
        """Nobody writes any more: go on as a part without gaps, if there are none. Raises WorldError."""
        if self._has_ranges and not self.detached:
            with translate_disk_errors(self._file):
                os.ftruncate(self._descriptor, self.written_bytes)
                self._has_ranges = False
                self._write_state("bytes")

    def save(self) -> None:
        """Make what is there durable, so that it can be gone on with after anything. Raises WorldError."""
        if self._descriptor >= 0:
            if self._writer and not self._writer.failed:
                self.flush()
            with translate_disk_errors(self._file):
                self._sync()

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            # After a failed fsync nobody knows what is on disk; trying again would only say that all is well.
            self.discard()
            raise
        self._state.write_synced(self.etag, self._extents(), self.written_bytes)

    def _write_state(self, durability: Durability) -> None:
        self._state.write(self.etag, self._extents(), durability)

    def _extents(self) -> tuple[Extent, ...] | None:
        return ((0, self.written_bytes), *self.detached) if self._has_ranges else None

    def discard(self) -> None:
        """Forget all bytes. Raises WorldError."""
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
    ) -> None:
        """Check, make durable, give it its final name; the state stays until `remove_state`.

        `before_rename` is told of the file as it will be under that name, right before it gets it. Raises WorldError
        SIZE_MISMATCH or HASH_MISMATCH (the bytes are then dropped), or of the disk.
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
                os.fsync(self._descriptor)
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

    def _fail(self, code: Code, text: str) -> None:
        self.discard()
        raise WorldError(code, f"{self.item.name}{TGZ}: {text}")

    def remove_state(self) -> None:
        """The state is of no more use: the item is whole elsewhere."""
        with translate_disk_errors(self._file):
            self._state.remove()

    def close(self) -> None:
        """Write what waits in memory, if that can be done, and give the descriptor back; nothing is made durable."""
        with contextlib.suppress(WorldError):
            self.flush()
        self._close_file()

    def _close_file(self) -> None:
        self._close_writer()
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
