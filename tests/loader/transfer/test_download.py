"""One item over a faulty store, without sockets: every fault is scripted, and every test checks that it occurred."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from loader.contract.manifest import Item
from loader.contract.units import MIB
from loader.errors import Code, Stopped, WorldError
from loader.s3.http.headers import EPOCH
from loader.s3.interface import Body
from loader.s3.memory import MemoryBucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
from loader.transfer.context import DownloadContext
from loader.transfer.download import download_item
from loader.transfer.rate_limit import CHUNK, RateLimiter
from tests.support.partial_files import append

KEY = "ACME/c/movie.tgz"
CONTENT = os.urandom(3 * MIB + 77)
ITEM = Item("movie", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
EDITION = ManifestVersion("1" * 64)
MODIFIED = datetime(2026, 11, 21, 3, tzinfo=UTC)


class Wire:
    """A body with scripted headers."""

    def __init__(self, data: bytes, *, start: int, size: int | None, etag: str, error: WorldError | None) -> None:
        self.size, self.start, self.etag = size, start, etag
        self.last_modified = MODIFIED
        self._data, self._error = memoryview(data), error

    def readinto(self, buffer: bytearray | memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        if count == 0 and self._error:
            raise self._error
        return count

    def read(self, limit: int = 1) -> bytes:
        raise NotImplementedError

    def abort(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


Act = Callable[[int], Body]


class Scripted(MemoryBucket):
    """Each `open` runs the next step of the script; afterwards the real object is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Act] = []
        self.opened: list[tuple[int, str | None]] = []
        self.content, self.etag_now = CONTENT, "e1"

    def open(  # type: ignore[override]
        self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None
    ) -> Body:
        self.opened.append((start, if_match))
        if self.script:
            return self.script.pop(0)(start)
        return self.send(start)

    def send(
        self,
        start: int,
        *,
        upto: int | None = None,
        chunked: bool = False,
        etag: str | None = None,
        error: WorldError | None = None,
        begin: int | None = None,
    ) -> Body:
        """Send the object from `start` (or `begin`, with a false claim), ending early at `upto`."""
        size = None if chunked else len(self.content)
        at, etag = start if begin is None else begin, self.etag_now if etag is None else etag
        return Wire(self.content[at:upto], start=at, size=size, etag=etag, error=error)


@dataclass
class Witness:
    """Records the calls of the download."""

    wanted: bool = True
    progress: list[int] = field(default_factory=list)
    retries: list[tuple[str, float]] = field(default_factory=list)
    asked: int = 0

    def on_progress(self, bytes_done: int) -> None:
        self.progress.append(bytes_done)

    def on_retry(self, error: WorldError, wait: float, failures: int) -> None:
        self.retries.append((error.code, wait))

    def is_still_listed(self) -> bool:
        self.asked += 1
        return self.wanted

    def on_body_opened(self, body: Body | None) -> None: ...


@dataclass
class Bench:
    """One item, one bucket, one content directory."""

    store: ContentStore
    bucket: Scripted = field(default_factory=Scripted)
    witness: Witness = field(default_factory=Witness)
    stop: threading.Event = field(default_factory=threading.Event)
    item: Item = ITEM
    tries: int = 4
    min_rate: int = 0
    min_rate_time: float = 60.0
    limiter: RateLimiter = field(default_factory=lambda: RateLimiter(None))

    def run(self) -> None:
        means = DownloadContext(
            self.bucket,
            self.limiter,
            self.stop,
            lambda: Backoff(self.tries, 0.0001, 0.0001),
            self.min_rate,
            self.min_rate_time,
        )
        with self.store.open_partial("c", self.item, EDITION) as part:
            part.resume(self.stop)
            download_item(KEY, part, means, self.witness, lambda: self.store.install("c", part, EDITION, staged=False))

    def fails(self) -> str:
        with pytest.raises(WorldError) as failed:
            self.run()
        assert not self.final.exists()
        assert self.bucket.script == []
        return failed.value.code

    def succeeds(self) -> None:
        self.run()
        assert self.bucket.script == []
        assert self.final.read_bytes() == self.bucket.content

    @property
    def final(self) -> Path:
        return self.store.path / "c" / "movie.tgz"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = ContentStore(tmp_path)
    yield Bench(store)
    store.close()


def short(bench: Bench, upto: int) -> Act:
    return lambda start: bench.bucket.send(start, upto=upto, error=WorldError(Code.SHORT_BODY, "cut"))


def test_a_cut_body_resumes_at_the_last_byte(bench: Bench) -> None:
    bench.bucket.script = [short(bench, 1000), short(bench, 2 * MIB)]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (1000, "e1"), (2 * MIB, "e1")]
    assert [code for code, _ in bench.witness.retries] == ["SHORT_BODY"] * 2


def test_a_chunked_body_that_ends_early_is_found_by_its_size(bench: Bench) -> None:
    bench.bucket.script = [lambda start: bench.bucket.send(start, upto=5000, chunked=True)]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (5000, "e1")]


def test_a_body_that_always_ends_early_fails_after_some_tries(bench: Bench) -> None:
    bench.bucket.script = [short(bench, 10 * at) for at in range(1, 5)]
    assert bench.fails() == "SHORT_BODY"
    assert bench.store.item_state("c", ITEM).bytes_done == 40


def test_a_store_that_always_cuts_but_brings_a_mib_each_time_is_enough(bench: Bench) -> None:
    bench.tries = 2
    bench.bucket.script = [short(bench, MIB), short(bench, 2 * MIB), short(bench, 3 * MIB)]
    bench.succeeds()


def test_a_whole_object_in_answer_to_a_range_starts_at_nothing(bench: Bench) -> None:
    bench.bucket.script = [short(bench, MIB), lambda start: bench.bucket.send(start, begin=0)]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (MIB, "e1")]


def test_a_range_from_another_place_is_never_appended(bench: Bench) -> None:
    bench.bucket.script = [short(bench, MIB), lambda start: bench.bucket.send(start, begin=start + 5)]
    bench.succeeds()
    assert bench.witness.retries[-1][0] == "NETWORK"


def test_a_range_of_another_object_is_never_appended(bench: Bench) -> None:
    def other(start: int) -> Body:
        return bench.bucket.send(start, etag="e2")

    bench.bucket.script = [short(bench, MIB), other]
    bench.succeeds()
    assert bench.bucket.opened[2] == (0, None)
    assert bench.witness.asked == 1


def test_wrong_bytes_are_fetched_once_more_then_the_item_has_failed(bench: Bench) -> None:
    bench.bucket.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    assert bench.fails() == "HASH_MISMATCH"
    assert bench.bucket.opened == [(0, None), (0, None)]
    assert bench.store.item_state("c", ITEM).bytes_done == 0
    assert bench.witness.progress[-1] == 0


def test_bytes_damaged_on_the_way_heal_by_the_second_fetch(bench: Bench) -> None:
    def damaged(start: int) -> Body:
        return Wire(bytes(len(CONTENT)), start=0, size=len(CONTENT), etag="e1", error=None)

    bench.bucket.script = [damaged]
    bench.succeeds()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_longer_object_is_a_size_mismatch(bench: Bench, chunked: bool) -> None:
    bench.bucket.content = CONTENT + b"!"
    bench.bucket.script = [lambda start: bench.bucket.send(start, chunked=chunked)]
    assert bench.fails() == "SIZE_MISMATCH"
    assert bench.store.item_state("c", ITEM).bytes_done == 0


def test_a_shorter_object_is_a_size_mismatch_before_a_byte_is_read(bench: Bench) -> None:
    bench.bucket.content = b"<Error><Code>InternalError</Code></Error>"
    assert bench.fails() == "SIZE_MISMATCH"
    assert max(bench.witness.progress) == 0


def refuse(code: Code, retry_after: float | None = None) -> Act:
    def act(start: int) -> Body:
        raise WorldError(code, f"refused with {code}", retry_after=retry_after)

    return act


def replace_object(bench: Bench, content: bytes = CONTENT) -> Act:
    def act(start: int) -> Body:
        bench.bucket.content, bench.bucket.etag_now = content, "e2"
        raise WorldError(Code.OBJECT_CHANGED)

    return act


def test_an_object_replaced_midway_restarts_if_the_manifest_still_lists_it(bench: Bench) -> None:
    bench.bucket.script = [short(bench, MIB), replace_object(bench)]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (MIB, "e1"), (0, None), (0, None)]
    assert bench.witness.asked == 1
    assert 0 in bench.witness.progress


def test_an_object_replaced_midway_fails_if_it_differs_from_the_manifest(bench: Bench) -> None:
    bench.witness.wanted = False
    bench.bucket.script = [short(bench, MIB), replace_object(bench)]
    assert bench.fails() == "OBJECT_CHANGED"
    assert bench.store.item_state("c", ITEM).bytes_done == 0


@pytest.mark.parametrize("content", [CONTENT[:-1], bytes(len(CONTENT))])
def test_a_replacement_that_does_not_match_the_manifest_is_reported(bench: Bench, content: bytes) -> None:
    bench.bucket.script = [short(bench, MIB), replace_object(bench, content)]
    assert bench.fails() == "OBJECT_CHANGED"


def test_an_object_replaced_without_end_does_not_keep_the_loader_busy(bench: Bench) -> None:
    bench.bucket.script = [refuse(Code.OBJECT_CHANGED) for _ in range(4)]
    assert bench.fails() == "OBJECT_CHANGED"


@pytest.mark.parametrize("code", [Code.OBJECT_GONE, Code.FORBIDDEN, Code.CREDENTIALS, Code.CLOCK_SKEW])
def test_permanent_errors_are_not_retried(bench: Bench, code: Code) -> None:
    bench.bucket.script = [short(bench, MIB), refuse(code)]
    assert bench.fails() == code
    assert len(bench.bucket.opened) == 2
    assert bench.store.item_state("c", ITEM).bytes_done == MIB


@pytest.mark.parametrize("code", [Code.THROTTLED, Code.TIMEOUT, Code.NETWORK])
def test_an_outage_costs_a_bounded_number_of_requests(bench: Bench, code: Code) -> None:
    bench.bucket.script = [refuse(code) for _ in range(4)]
    assert bench.fails() == code
    assert len(bench.bucket.opened) == 4


def test_a_trickle_is_dropped_and_reported(bench: Bench) -> None:
    bench.min_rate, bench.min_rate_time = 10**12, 0.0001
    bench.limiter, bench.tries = RateLimiter(10**14), 3  # no limit, but blocks of a quarter MiB
    assert bench.fails() == "TOO_SLOW"
    assert len(bench.bucket.opened) <= 2 * bench.tries


def test_a_stop_in_the_middle_keeps_the_bytes(bench: Bench) -> None:
    class Stopper(Witness):
        def on_progress(self, bytes_done: int) -> None:
            bench.stop.set()

    bench.witness = Stopper()
    with pytest.raises(Stopped):
        bench.run()
    assert bench.store.item_state("c", ITEM).bytes_done == CHUNK


def test_an_empty_item_needs_its_object_and_no_bytes(bench: Bench) -> None:
    bench.item = Item("movie", 0, hashlib.sha256(b"").hexdigest())
    bench.bucket.content = b""
    bench.succeeds()
    assert bench.bucket.opened == [(0, None)]


def test_an_item_without_a_hash_is_taken_by_its_size(bench: Bench) -> None:
    bench.item = Item("movie", len(CONTENT))
    bench.bucket.script = [short(bench, 100)]
    bench.succeeds()


def test_an_object_without_an_etag_is_not_resumed(bench: Bench) -> None:
    bench.bucket.script = [
        lambda start: bench.bucket.send(start, upto=MIB, etag="", error=WorldError(Code.SHORT_BODY, "cut")),
    ]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (0, None)]


def test_a_whole_part_left_by_a_kill_is_installed_without_a_request(bench: Bench) -> None:
    with bench.store.open_partial("c", ITEM, EDITION) as part:
        part.resume(bench.stop)
        part.restart("e1")
        append(part, CONTENT)
    bench.succeeds()
    assert bench.bucket.opened == []


WEAK = 'W/"e1"'


def cut(bench: Bench, upto: int) -> Act:
    """End the body of an object with a weak ETag."""
    return lambda start: bench.bucket.send(start, upto=upto, etag=WEAK, error=WorldError(Code.SHORT_BODY, "cut"))


@pytest.mark.parametrize("item", [ITEM, Item("movie", len(CONTENT))])
def test_a_weak_etag_and_the_same_date_are_enough_to_go_on(bench: Bench, item: Item) -> None:
    bench.item, bench.bucket.etag_now = item, WEAK
    bench.bucket.script = [cut(bench, MIB), cut(bench, 2 * MIB)]
    bench.succeeds()
    assert [start for start, _ in bench.bucket.opened] == [0, MIB, 2 * MIB]


def test_a_weak_etag_with_another_date_is_another_object(bench: Bench) -> None:
    def later(start: int) -> Body:
        body = bench.bucket.send(start)
        body.last_modified = datetime(2026, 11, 22, tzinfo=UTC)
        return body

    bench.bucket.etag_now = WEAK
    bench.bucket.script = [cut(bench, MIB), later]
    bench.succeeds()
    assert [start for start, _ in bench.bucket.opened] == [0, MIB, 0]


@pytest.mark.parametrize(("item", "resumes"), [(ITEM, True), (Item("movie", len(CONTENT)), False)])
def test_without_a_date_only_a_hash_allows_to_go_on(
    bench: Bench, item: Item, resumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "MODIFIED", EPOCH)
    bench.item, bench.bucket.etag_now = item, WEAK
    bench.bucket.script = [cut(bench, MIB)]
    bench.succeeds()
    assert [start for start, _ in bench.bucket.opened] == [0, MIB if resumes else 0]


def test_the_date_is_remembered_over_a_restart(bench: Bench) -> None:
    bench.bucket.etag_now, bench.tries = WEAK, 1
    bench.bucket.script = [cut(bench, MIB)]
    assert bench.fails() == "SHORT_BODY"
    bench.bucket.script = []
    bench.succeeds()
    assert [start for start, _ in bench.bucket.opened] == [0, MIB]


def test_a_store_that_refuses_every_condition_is_asked_without_and_no_byte_is_lost(bench: Bench) -> None:
    bench.bucket.script = [
        short(bench, MIB),
        refuse(Code.OBJECT_CHANGED),
        lambda start: bench.bucket.send(start, upto=1),
        short(bench, 2 * MIB),
    ]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (MIB, "e1"), (0, None), (MIB, None), (2 * MIB, None)]
    assert bench.witness.asked == 0
    assert bench.witness.progress == sorted(bench.witness.progress)


def test_a_store_that_fails_while_the_condition_is_checked_loses_no_byte(bench: Bench) -> None:
    bench.bucket.script = [short(bench, MIB), refuse(Code.OBJECT_CHANGED), refuse(Code.THROTTLED)]
    bench.succeeds()
    assert bench.bucket.opened == [(0, None), (MIB, "e1"), (0, None), (MIB, "e1")]
