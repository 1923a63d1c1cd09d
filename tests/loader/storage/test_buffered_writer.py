"""Buffered bytes between network and file: none are lost or stay in memory for long, whatever the disk does."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.storage.buffered_writer import BLOCK, BLOCKS, SYNC_EVERY, BufferedWriter

CONTENT = os.urandom(3 * BLOCK + 4321)
NEVER = 3600.0  # seconds


class Notes:
    """Records the calls of a sink; `called` wakes a waiting test."""

    def __init__(self) -> None:
        self.durable_calls: list[int | None] = []
        self.called = threading.Event()

    def __call__(self, durable: int | None) -> None:
        self.durable_calls.append(durable)
        self.called.set()


class Writes:
    """Replaces the system's writes: counts direct and other ones, and can fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.direct: list[tuple[int, int]] = []
        self.cached: list[tuple[int, int]] = []
        self.errors: list[int] = []
        self.refuse_direct = False
        self._honest = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._pwrite)

    def _pwrite(self, descriptor: int, data: memoryview, at: int) -> int:
        if self.errors:
            raise OSError(self.errors[0], os.strerror(self.errors[0]))
        direct = is_direct(descriptor)
        if direct and self.refuse_direct:
            raise OSError(errno.EINVAL, "not with this file system")
        written = self._honest(descriptor, data, at)
        (self.direct if direct else self.cached).append((at, at + written))
        return written


def is_direct(descriptor: int) -> bool:
    flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
    return bool(int(flags, 8) & os.O_DIRECT)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    found = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield found
    os.close(found)


def feed(sink: BufferedWriter, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        room = sink.buffer()
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        sink.add(count)
        rest = rest[count:]


SIZES = st.integers(1, 20_000) | st.sampled_from([4096, 65_536, BLOCK - 1, BLOCK]) | st.integers(1, BLOCK)
STARTS = st.sampled_from([0, 1, 4096, 5000, BLOCK - 1, BLOCK])


@settings(max_examples=60, deadline=None)
@given(STARTS, st.lists(st.tuples(SIZES, st.booleans()), max_size=12), st.booleans())
def test_any_sequence_of_writes_and_flushes_gives_the_same_file(
    start: int, pieces: list[tuple[int, bool]], impatient: bool
) -> None:
    with tempfile.TemporaryFile(dir=Path.cwd()) as stream:
        descriptor, at = stream.fileno(), start
        os.pwrite(descriptor, CONTENT[:start], 0)
        sink = BufferedWriter(descriptor, start, 0.002 if impatient else NEVER, Notes())
        for size, flush in [*pieces, (len(CONTENT), True)]:
            feed(sink, CONTENT[at : at + size])
            at = min(at + size, len(CONTENT))
            if flush:
                sink.flush()
                assert os.pread(descriptor, 2 * len(CONTENT), 0) == CONTENT[:at]
        assert sink.written == sink.added == len(CONTENT)
        sink.close()
        assert not is_direct(descriptor)


def test_full_windows_go_past_the_page_cache_and_the_tail_does_not(writes: Writes) -> None:
    with tempfile.TemporaryFile(dir=Path.cwd()) as stream:  # on a disk, whatever /tmp is
        sink = BufferedWriter(stream.fileno(), 0, NEVER, Notes())
        feed(sink, CONTENT)
        sink.flush(last=True)
        sink.close()
        assert os.pread(stream.fileno(), 2 * len(CONTENT), 0) == CONTENT
    assert sum(end - start for start, end in writes.direct) == 3 * BLOCK
    assert writes.cached == [(3 * BLOCK, len(CONTENT))]


def test_direct_and_other_writes_never_share_a_page(descriptor: int, writes: Writes) -> None:
    sink = BufferedWriter(descriptor, 77, NEVER, Notes())
    for end in (100_000, BLOCK + 5, 2 * BLOCK, 3 * BLOCK - 1, len(CONTENT)):
        feed(sink, CONTENT[sink.added : end])
        sink.flush()
    sink.close()
    assert writes.cached
    pages = [range(start // 4096, -(-end // 4096)) for start, end in writes.cached]
    direct = [range(start // 4096, -(-end // 4096)) for start, end in writes.direct]
    assert all(start % 4096 == end % 4096 == 0 for start, end in writes.direct)
    assert {page for found in pages for page in found}.isdisjoint(page for found in direct for page in found)


def test_a_byte_does_not_wait_for_the_next_one(descriptor: int) -> None:
    notes = Notes()
    sink = BufferedWriter(descriptor, 0, 0.01, notes)
    feed(sink, b"1")
    sink.buffer()  # now the thread waits for a link without data
    assert notes.called.wait(10)
    while sink.written == 0:
        notes.called.wait(0.01)
    assert os.pread(descriptor, 10, 0) == b"1"
    assert notes.durable_calls == [None]
    sink.close()


def test_a_file_system_that_refuses_direct_writes_gets_others(descriptor: int, writes: Writes) -> None:
    writes.refuse_direct = True
    sink = BufferedWriter(descriptor, 0, NEVER, Notes())
    feed(sink, CONTENT)
    sink.flush()
    sink.close()
    assert writes.direct == []
    assert os.pread(descriptor, len(CONTENT), 0) == CONTENT


@pytest.mark.root
def test_memory_as_a_disk_will_do(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", tmp_path], check=True)
    try:
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        sink = BufferedWriter(descriptor, 0, NEVER, Notes())
        feed(sink, CONTENT)
        sink.flush()
        sink.close()
        os.close(descriptor)
        assert (tmp_path / "file").read_bytes() == CONTENT
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_of_the_thread_that_writes_is_met_by_the_one_that_reads(
    code: int, descriptor: int, writes: Writes
) -> None:
    writes.errors = [code]
    sink = BufferedWriter(descriptor, 0, NEVER, Notes())
    with pytest.raises(OSError, match=os.strerror(code)) as failed:
        feed(sink, bytes((BLOCKS + 2) * BLOCK))
    assert failed.value.errno == code
    assert (sink.failed, sink.sync_failed, sink.written) == (True, False, 0)
    for again in (sink.buffer, sink.flush):
        with pytest.raises(OSError, match=os.strerror(code)):
            again()
    sink.close()


def test_a_failed_sync_differs_from_a_failed_write(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    sink = BufferedWriter(descriptor, 0, NEVER, Notes())
    with pytest.raises(OSError, match="Input/output"):
        feed(sink, bytes(SYNC_EVERY + (BLOCKS + 2) * BLOCK))
    sink.close()
    assert len(calls) == 1  # fsync is not retried: the kernel may have dropped the pages
    assert sink.sync_failed


def test_the_file_is_made_durable_again_and_again_on_the_way(descriptor: int) -> None:
    notes = Notes()
    sink = BufferedWriter(descriptor, 0, NEVER, notes)
    for _ in range(2 * SYNC_EVERY // BLOCK + BLOCKS):
        feed(sink, bytes(BLOCK))
    sink.flush()
    sink.close()
    assert notes.durable_calls == [None, SYNC_EVERY, 2 * SYNC_EVERY]


def test_an_item_that_comes_in_one_read_costs_neither_a_note_nor_a_thread(descriptor: int) -> None:
    notes, threads = Notes(), threading.active_count()
    sink = BufferedWriter(descriptor, 0, NEVER, notes)
    room = sink.buffer()
    room[:5] = b"small"
    sink.add(5)
    assert threading.active_count() <= threads
    sink.flush(last=True)
    sink.close()
    assert os.pread(descriptor, 10, 0) == b"small"
    assert notes.durable_calls == []
