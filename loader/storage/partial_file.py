"""One unfinished item on disk: its bytes, the state that says what they belong to, and the durable finish.

`<content>.tgz.part` holds bytes of the object, from its start on without a gap unless several connections brought them;
`<content>.tgz.json` beside it says of which object and, where there may be gaps, which bytes
(`loader.storage.partial_state`). What a torn or foreign state says is never believed: the bytes are then fetched again.
Raises WorldError; touches only the folder it is given.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Final

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.errors import Stopped, WorldError
from loader.failpoints import failpoint
from loader.storage.buffered_writer import SYNC_EVERY, Sink
from loader.storage.byte_ranges import Extent
from loader.storage.directory import Folder, Lasting, on_disk
from loader.storage.partial_state import Kept
from loader.storage.state_files import boot_identity, read_state, write_state

_BLOCK: Final = 1024 * 1024


class Part:
    """The bytes kept of one item. Used by one thread, but see `spread`.

    `kept` counts the bytes before the first gap that are in the file; `beyond` says which lie behind it. What was added
    and waits in memory to be written (`loader.storage.buffered_writer`) is in the hash already. After an error of the
    disk a part can only be saved, dropped or closed.
    """

    def __init__(self, folder: Folder, item: Item, version: int | None, boot: str | None = None) -> None:
        self.item = item
        self.kept = 0
        self.beyond: tuple[Extent, ...] = ()
        self.etag = ""
        self._version = version
        self._boot = boot_identity() if boot is None else boot
        self._folder = folder
        self._file, self._state = f"{item.name}{TGZ}.part", f"{item.name}{TGZ}.json"
        self._descriptor = -1
        self._sink: Sink | None = None
        self._durable = 0
        self._named = False
        self._spread = False
        self._noted = 0.0
        self._there = self._stated = True  # a file of it, and a state: as far as anybody knows
        self._hash = hashlib.sha256()

    @property
    def reached(self) -> int:
        """The bytes before the first gap, those included that wait in memory."""
        return self._sink.added if self._sink else self.kept

    @property
    def held(self) -> int:
        """All bytes kept, before and behind gaps."""
        return self.kept + sum(end - start for start, end in self.beyond)

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.item.size - self.held

    @property
    def sha256(self) -> str:
        """Of the bytes before the first gap, in hex."""
        return self._hash.hexdigest()

    @property
    def whole(self) -> bool:
        """All bytes are there; whether they are the right ones, `finish` finds out."""
        return self._descriptor >= 0 and self.reached == self.item.size

    @staticmethod
    def trusted(folder: Folder, item: Item, boot: str | None = None) -> int:
        """How many bytes a `Part` made now would go on from, without reading them."""
        _, extents = _believed(folder, item, boot_identity() if boot is None else boot)
        return sum(end - start for start, end in extents)

    def resume(self, stop: threading.Event) -> None:
        """Take up what is on disk, by hashing it again. Raises WorldError, Stopped."""
        with on_disk(self._file):
            state, extents = _believed(self._folder, self.item, self._boot)
            if state is None or not extents:
                self.drop()
                return
            self._descriptor = self._folder.file(self._file, os.O_RDWR)
            os.ftruncate(self._descriptor, extents[-1][1])
            self._rehash(extents[0][1], stop)
            self.etag, self._durable, self._named = state.etag, min(state.durable, self.kept), state.durable > 0
            self._spread = state.extents is not None
            self.beyond = tuple(extents[1:])
            self.gather()

    def _rehash(self, size: int, stop: threading.Event | None) -> None:
        buffer = memoryview(bytearray(_BLOCK))
        while self.kept < size:
            if stop and stop.is_set():
                raise Stopped
            count = os.preadv(self._descriptor, [buffer[: size - self.kept]], self.kept)
            if count == 0:
                raise WorldError("IO_ERROR", f"{self._file}: it ends before its size")
            self._hash.update(buffer[:count])
            self.kept += count

    def begin(self, etag: str) -> None:
        """Start anew with the object of this ETag: forget all bytes. Raises WorldError."""
        self.drop()
        with on_disk(self._file):
            self.etag = etag
            self._there = True
            self._descriptor = self._folder.file(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            failpoint("part-begun")

    def room(self, flush_after: float) -> memoryview:
        """Memory for the bytes that come next; hand what was filled of it to `add`. Raises WorldError.

        `flush_after`: seconds that bytes may wait in memory. Before they are in the file a kill costs them.
        """
        with self._writing():
            if self._sink is None:
                self._sink = Sink(self._descriptor, self.kept, flush_after, self._note)
            return self._sink.room()

    def add(self, data: memoryview) -> None:
        """Append the beginning of the last `room`, filled. Raises WorldError."""
        self._hash.update(data)
        if self._sink:
            with self._writing():
                self._sink.add(len(data))
            self.kept = self._sink.written

    def flush(self) -> None:
        """Wait until all bytes are in the file; nothing of them is in use by another thread then. Raises WorldError."""
        self._flush(last=False)

    def _flush(self, *, last: bool) -> None:
        if self._sink:
            with self._writing():
                self._sink.flush(last=last)
            self._leave_sink()

    def _leave_sink(self) -> None:
        if self._sink:
            self._sink.close()
            self.kept, self._sink = self._sink.written, None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with on_disk(self._file):
            try:
                yield
            except OSError:
                if self._sink and self._sink.lost:
                    self.drop()
                elif self._sink:
                    self.kept = self._sink.written
                raise

    def _note(self, durable: int | None) -> None:
        """Called by whichever thread writes."""
        if durable is None:
            # Survives a kill; a power cut loses no durable bytes that only a newer state would tell of.
            self._write_state("nothing")
        else:
            self._durable = durable
            self._write_lasting()

    # Bytes that come to several places at once.

    def spread(self) -> int:
        """A descriptor for whoever writes such bytes; it is theirs to close. Raises WorldError."""
        with on_disk(self._file):
            if not self._spread:
                self._spread = True
                # Before the first gap: from now on the length of the file says nothing.
                self._write_state("bytes")
            return os.dup(self._descriptor)

    def follow(self, held: Sequence[Extent], flush_after: float) -> None:
        """These bytes are written: hash up to the first gap; note them, if so many seconds passed since it was done.

        Nothing happens to a part that was dropped. Raises WorldError.
        """
        if self._descriptor < 0:
            return
        with on_disk(self._file):
            edge = held[0][1]
            self.beyond = tuple(held[1:])
            self._rehash(edge, None)
            if self.kept - self._durable >= SYNC_EVERY:
                self._sync()
            elif time.monotonic() - self._noted >= flush_after:
                self._write_state("bytes")

    def gather(self) -> None:
        """Nobody writes any more: go on as a part without gaps, if there are none. Raises WorldError."""
        if self._spread and not self.beyond:
            with on_disk(self._file):
                os.ftruncate(self._descriptor, self.kept)
                self._spread = False
                self._write_state("bytes")

    def save(self) -> None:
        """Make what is there durable, so that it can be gone on with after anything. Raises WorldError."""
        if self._descriptor >= 0:
            if self._sink and not self._sink.failed:
                self.flush()
            with on_disk(self._file):
                self._sync()

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            # After a failed fsync nobody knows what is on disk; trying again would only say that all is well.
            self.drop()
            raise
        self._durable = self.kept
        self._write_lasting()

    def _write_lasting(self) -> None:
        # Once a state of these bytes has its name, an older one in its place after a power cut only knows of fewer.
        self._write_state("bytes" if self._named else "name")
        self._named = True

    def _write_state(self, lasting: Lasting) -> None:
        item = self.item
        extents = ((0, self.kept), *self.beyond) if self._spread else None
        state = Kept(self.etag, item.size, item.sha256, self._version, self._durable, self._boot, extents)
        self._stated = True
        write_state(self._folder, self._state, asdict(state), lasting=lasting)
        self._noted = time.monotonic()

    def drop(self) -> None:
        """Forget all bytes. Raises WorldError."""
        self._shut()
        self.kept, self._durable, self.etag, self._hash = 0, 0, "", hashlib.sha256()
        self._named = False
        self.beyond, self._spread = (), False
        if self._there:
            with on_disk(self._file):
                self._folder.remove(self._file)
                self._folder.remove(self._state)
            self._there = self._stated = False

    def finish(self, target: Folder, name: str, note: Callable[[os.stat_result], None] = lambda status: None) -> None:
        """Check, make durable, give it its final name; the state stays until `forget`.

        `note` is told of the file as it will be under that name, right before it gets it. Raises WorldError
        SIZE_MISMATCH or HASH_MISMATCH (the bytes are then dropped), or of the disk.
        """
        failpoint("last-byte")
        if self.reached != self.item.size:
            self._refuse("SIZE_MISMATCH", f"{self.reached} bytes arrived, campaign.json says {self.item.size}")
        failpoint("size-checked")
        if self.item.sha256 is not None and self.sha256 != self.item.sha256:
            self._refuse("HASH_MISMATCH", f"SHA-256 is {self.sha256}, campaign.json says {self.item.sha256}")
        failpoint("hash-checked")
        self._flush(last=True)
        with on_disk(self._file):
            try:
                os.fsync(self._descriptor)
            except OSError:
                self.drop()
                raise
            failpoint("part-synced")
            status = os.fstat(self._descriptor)
            self._shut()
            failpoint("part-closed")
            note(status)
            self._folder.move(self._file, target, name)
            failpoint("renamed")
            target.sync()
            failpoint("folder-synced")

    def _refuse(self, code: str, text: str) -> None:
        self.drop()
        raise WorldError(code, f"{self.item.name}{TGZ}: {text}")

    def forget(self) -> None:
        """The state is of no more use: the item is whole elsewhere."""
        if self._stated:
            with on_disk(self._state):
                self._folder.remove(self._state)

    def close(self) -> None:
        """Write what waits in memory, if that can be done, and give the descriptor back; nothing is made durable."""
        with contextlib.suppress(WorldError):
            self.flush()
        self._shut()

    def _shut(self) -> None:
        self._leave_sink()
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _believed(folder: Folder, item: Item, boot: str) -> tuple[Kept | None, list[Extent]]:
    """The state of a part, and the bytes that a `Part` made now would go on from."""
    state = Kept.of(read_state(folder, f"{item.name}{TGZ}.json"))
    status = folder.plain(f"{item.name}{TGZ}.part")
    if state is None or status is None or status.st_nlink != 1 or not state.etag:
        return None, []
    if (state.size, state.sha256) != (item.size, item.sha256) or status.st_size > item.size:
        return None, []
    return state, state.believed(status.st_size, boot)
