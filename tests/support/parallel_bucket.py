"""A bucket that serves several connections by a script, and a downloader that may use as many."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loader.contract.manifest import Item
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.interface import Body
from loader.s3.memory import MemoryBody, MemoryBucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
from loader.transfer.concurrency import ConnectionBudget
from loader.transfer.context import DownloadContext, never_waits
from loader.transfer.download import download_item
from loader.transfer.rate_limit import RateLimiter

KEY = "ACME/c/movie.tgz"
CONTENT = os.urandom(9 * MIB + 77)
EDITION = ManifestVersion("1" * 64)


class FixedConnectionBudget(ConnectionBudget):
    """Lets every item use a fixed number of connections, whatever is measured."""

    def __init__(self, share: int) -> None:
        super().__init__()
        self.allowed, self.refusals = share, 0

    def connections_per_item(self) -> int:
        return self.allowed

    def acquire(self) -> bool:
        return True

    def should_parallelise(self, missing: int) -> bool:
        return self.allowed > 1

    def back_off(self) -> None:
        self.refusals += 1


@dataclass(frozen=True)
class RangeRequest:
    """A request: its number in the order of requests, and its range."""

    number: int
    start: int
    end: int | None
    if_match: str | None


class GatedBody(MemoryBody):
    """A body whose reads wait for the gate, and that ends or fails where the script says."""

    gate: threading.Event
    breaks: int | None = None
    sent = 0

    def read(self, limit: int = MIB) -> bytes:
        while not self.gate.wait(0.01) and not self._aborted:
            pass
        if self.breaks is not None and self.sent >= self.breaks:
            raise WorldError(Code.NETWORK, "broken")
        block = super().read(limit if self.breaks is None else min(limit, self.breaks - self.sent))
        self.sent += len(block)
        return block


Respond = Callable[[RangeRequest], Body]


class ScriptedBucket(MemoryBucket):
    """A bucket in which `script[n]` answers request n (from 1); other requests get the stored object."""

    def __init__(self) -> None:
        super().__init__()
        self.put(KEY, CONTENT)
        self.asked: list[RangeRequest] = []
        self.bodies: list[GatedBody] = []
        self.script: dict[int, Respond] = {}
        self.gate_at = 0  # bodies of ranges wait until there were as many requests
        self._gate = threading.Event()
        self._turn = threading.Lock()

    def open(  # type: ignore[override]
        self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None
    ) -> Body:
        with self._turn:
            asked = RangeRequest(len(self.asked) + 1, start, end, if_match)
            self.asked.append(asked)
            act = self.script.pop(asked.number, self.send)
            if asked.number >= self.gate_at:
                self._gate.set()
        stored = self._objects[key]
        if if_match not in (None, stored.etag):
            raise WorldError(Code.OBJECT_CHANGED)
        return act(asked)

    def send(self, asked: RangeRequest, *, breaks: int | None = None, gate: threading.Event | None = None) -> GatedBody:
        """Return the stored body, up to where it breaks."""
        body = GatedBody(self._objects[KEY], asked.start, asked.end, self.requests)
        body.breaks = breaks
        body.gate = gate or (threading.Event() if asked.end is None else self._gate)
        if asked.end is None:
            body.gate.set()
        self.bodies.append(body)
        return body

    @property
    def sent(self) -> int:
        """Return the bytes sent of all bodies."""
        return sum(body.sent for body in self.bodies)

    @property
    def ranges(self) -> list[RangeRequest]:
        """Return the requests for a part of the object."""
        return [asked for asked in self.asked if asked.end is not None]


@dataclass
class RecordingObserver:
    """Records the calls of the download."""

    wanted: bool = True
    kept: list[int] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)

    def on_progress(self, bytes_done: int) -> None:
        self.kept.append(bytes_done)

    def on_retry(self, error: WorldError, wait: float, failures: int) -> None:
        self.retries.append(error.code)

    def is_still_listed(self) -> bool:
        return self.wanted

    def on_body_opened(self, body: Body | None) -> None: ...


@dataclass
class DownloadSetup:
    """One item, one bucket and one content directory."""

    folder: Path
    share: int = 4
    bucket: ScriptedBucket = field(default_factory=ScriptedBucket)
    ledger: RecordingObserver = field(default_factory=RecordingObserver)
    stop: threading.Event = field(default_factory=threading.Event)
    item: Item = field(default_factory=lambda: Item("movie", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()))
    await_link: Callable[[threading.Event], bool] = never_waits
    min_rate: int = 0

    def __post_init__(self) -> None:
        self.streams = FixedConnectionBudget(self.share)
        self.store = ContentStore(self.folder)

    def run(self) -> None:
        means = DownloadContext(
            self.bucket,
            RateLimiter(None),
            self.stop,
            lambda: Backoff(4, 0.0001, 0.0001),
            self.min_rate,
            0.2,
            connections=self.streams,
            flush_after=0.0,
            await_link=self.await_link,
        )
        with self.store.open_partial("c", self.item, EDITION) as part:
            part.resume(self.stop)
            try:
                download_item(
                    KEY, part, means, self.ledger, lambda: self.store.install("c", part, EDITION, staged=False)
                )
            finally:
                part.save()

    @property
    def final(self) -> Path:
        return self.folder / "c" / "movie.tgz"

    @property
    def kept(self) -> int:
        """Return the bytes from which a download would resume."""
        return self.store.item_state("c", self.item).bytes_done

    def succeeds(self) -> None:
        self.run()
        assert self.final.read_bytes() == CONTENT
        assert self.bucket.script == {}
