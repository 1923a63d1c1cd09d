"""One item over several connections at once, each with a range of its own; the hash follows the bytes without a gap.

The thread that calls `Ranges.run` leads: it starts workers as `loader.transfer.concurrency` allows, hashes what has
arrived up to the first gap by reading it back, notes on disk which bytes are there, and decides what a failure means. A
worker only asks for a range of the object with the part's ETag and writes what comes to its place. A worker that hangs
in a connection is left behind: it has a descriptor of its own and looks before it writes.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from loader.errors import DISK_CODES, Stopped, WorldError
from loader.failpoints import failpoint
from loader.s3.interface import Body
from loader.s3.retry import RetryBudget
from loader.storage.directory import translate_disk_errors
from loader.storage.partial_file import PartialFile
from loader.transfer.context import Means, Watch
from loader.transfer.range_allocator import Extents, Range
from loader.transfer.rate_limit import Trickle

log = logging.getLogger("loader")

SPAN: Final = 4.0  # seconds that a range should take,
SPAN_ANSWERS: Final = 20.0  # and so many times the wait for an answer, in which its connection brings nothing
SHORTEST: Final = 256 * 1024  # bytes of a range, unless less is left
WIDEST: Final = 128 * 1024 * 1024  # how far bytes may be ahead of the hash
TICK: Final = 0.1
BUFFER: Final = 64 * 1024
PATIENCE: Final = 0.5  # seconds for workers to end
STALLED: Final = 3.0  # seconds without a byte while the others move: another connection will be quicker
STALLED_ANSWERS: Final = 6.0  # but never before so many times the wait for an answer


class RangesIgnored(WorldError):
    """The store answers a request for a range with the whole object."""

    def __init__(self) -> None:
        super().__init__("NETWORK", "the store ignores ranges")


class _Worker:
    """A connection and what it is to bring."""

    def __init__(self, taken: Range) -> None:
        self.taken: Range | None = taken
        self.body: Body | None = None
        self.moved_at = time.monotonic()
        self.answered = False
        self.given_up = False


class Ranges:
    """Brings a part nearer to being whole. For one `run`."""

    def __init__(self, key: str, part: PartialFile, means: Means, watch: Watch, budget: RetryBudget) -> None:
        """`part` has an ETag and bytes at its start."""
        self._key, self._part, self._means, self._watch, self._budget = key, part, means, watch, budget
        self._map = Extents(part.item.size, [(0, part.written_bytes), *part.detached])
        self._etag = part.etag
        self._news = threading.Condition()
        self._workers: dict[_Worker, threading.Thread] = {}
        self._failures: list[tuple[WorldError, bool, bool]] = []  # with: had it an answer, was it the last at work
        self._over = False
        self._claimed = self._got = 0
        self._pause_until = -math.inf

    def run(self) -> None:
        """Until all bytes are there, or one connection may go on by itself. Raises WorldError, Stopped."""
        try:
            self._lead()
        finally:
            self._end()
            self._keep(math.inf)
        self._part.end_ranges()

    # Leading.

    def _lead(self) -> None:
        trickle = Trickle(self._means.least_rate, self._means.min_rate_time)
        while self._staff():
            with self._news:
                self._news.wait(TICK)
            self._keep(self._means.flush_after)
            if self._means.stop.is_set():
                raise Stopped
            self._judge()
            self._give_up_the_stalled()
            trickle.expect(self._means.least_rate)
            if trickle.too_slow(time.monotonic(), self._got):
                rate, seconds = self._means.min_rate, self._means.min_rate_time
                raise WorldError("TOO_SLOW", f"less than {rate} bytes a second for {seconds:g} s")

    def _staff(self) -> bool:
        """Start as many workers as are allowed and of use. False when none is at work, so that all is done."""
        share, length = self._share()
        with self._news:
            while len(self._workers) < share and time.monotonic() >= self._pause_until:
                if self._workers and not self._claim():
                    break
                taken = self._take(share, length)
                if taken is None:
                    break
                self._hire(taken)
            self._give_back()
            waiting = self._map.edge < self._map.size and time.monotonic() < self._pause_until
            return bool(self._workers or self._failures or self._map.beyond or waiting)

    def _claim(self) -> bool:
        """Items that begin together would each take what is everybody's share alone."""
        claimed = self._means.streams.claim()
        self._claimed += claimed
        return claimed

    def _give_back(self) -> None:
        spare = self._claimed - max(0, len(self._workers) - 1)
        if spare > 0:
            self._claimed -= spare
            self._means.streams.give_back(spare)

    def _share(self) -> tuple[int, int]:
        """How many connections may be used, and how many bytes to ask for over each."""
        streams = self._means.streams
        share, seconds = streams.share(), max(SPAN, SPAN_ANSWERS * streams.answer)
        return share, max(SHORTEST, min(int(streams.pace() * seconds), WIDEST // (2 * share)))

    def _take(self, share: int, length: int) -> Range | None:
        if share == 1 and not self._map.beyond:
            return None
        return self._map.take(length, 2 * share * length)

    def _hire(self, taken: Range) -> None:
        try:
            descriptor = self._part.open_for_ranges()
        except WorldError:
            self._map.release(taken)
            raise
        worker = _Worker(taken)
        # A daemon: one that hangs in a connection must not keep the process from ending.
        thread = threading.Thread(target=self._work, args=(worker, descriptor), name="range", daemon=True)
        self._workers[worker] = thread
        thread.start()

    def _keep(self, flush_after: float) -> None:
        with self._news:
            held = self._map.held
        before = self._part.bytes_done
        self._part.hash_contiguous(held, flush_after)
        if self._part.bytes_done != before:
            self._watch.moved(self._part.bytes_done)

    def _judge(self) -> None:
        """Whether what failed ends all of it."""
        with self._news:
            failures, self._failures = self._failures, []
        for error, answered, alone in failures:
            if error.permanent or error.code in DISK_CODES or isinstance(error, RangesIgnored) or alone:
                raise error
            # What fails together has failed once.
            if time.monotonic() >= self._pause_until:
                self._pause(error, answered)

    def _pause(self, error: WorldError, answered: bool) -> None:
        if not answered:
            self._means.streams.refused()
        wait = self._budget.next_delay(self._part.bytes_done, error.retry_after)
        if wait is None:
            raise error
        self._pause_until = time.monotonic() + wait
        self._watch.retrying(error, wait, self._budget.failures)

    def _give_up_the_stalled(self) -> None:
        now, patience = time.monotonic(), max(STALLED, STALLED_ANSWERS * self._means.streams.answer)
        with self._news:
            moving = any(now - worker.moved_at < 1.0 for worker in self._workers)
            for worker in self._workers:
                if moving and worker.body and now - worker.moved_at > patience and not worker.given_up:
                    worker.given_up = True
                    worker.body.abort()

    def _end(self) -> None:
        with self._news:
            self._over = True
            threads = list(self._workers.values())
            for worker in self._workers:
                if worker.body:
                    worker.body.abort()
        deadline = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._watch.opened(None)

    # Working.

    def _work(self, worker: _Worker, descriptor: int) -> None:
        """One of several threads."""
        error: WorldError | None = None
        buffer = memoryview(bytearray(BUFFER))
        try:
            while taken := self._next(worker):
                self._fetch(worker, taken, descriptor, buffer)
        except Stopped:
            pass
        except WorldError as failure:
            error = failure
        except Exception:
            # The edge of a thread.
            log.exception("While a range of %s was fetched", self._key)
            error = WorldError("INTERNAL")
        finally:
            os.close(descriptor)
            self._leave(worker, error)

    def _next(self, worker: _Worker) -> Range | None:
        """What it was hired for, then what is next; None when it is not needed any more."""
        share, length = self._share()
        with self._news:
            if worker.taken and worker.taken.at > worker.taken.start:
                self._map.release(worker.taken)
                worker.taken = None if len(self._workers) > share else self._take(share, length)
                self._news.notify()
            worker.answered, worker.moved_at = False, time.monotonic()
            return None if self._over else worker.taken

    def _leave(self, worker: _Worker, error: WorldError | None) -> None:
        with self._news:
            if worker.taken:
                self._map.release(worker.taken)
            del self._workers[worker]
            self._give_back()
            if error and not worker.given_up:
                self._failures.append((error, worker.answered, not self._workers))
            self._news.notify()

    def _fetch(self, worker: _Worker, taken: Range, descriptor: int, buffer: memoryview) -> None:
        asked = time.monotonic()
        with self._means.media.open(self._key, start=taken.at, end=taken.end, if_match=self._etag) as body:
            self._accept(body, taken)
            with self._reading(worker, body), self._means.streams.stream(time.monotonic() - asked):
                while not self._over and taken.left > 0:
                    self._read(worker, taken, body, descriptor, buffer)

    @contextmanager
    def _reading(self, worker: _Worker, body: Body) -> Iterator[None]:
        with self._news:
            worker.body, worker.answered, worker.moved_at = body, True, time.monotonic()
        self._watch.opened(body)
        try:
            yield
        finally:
            with self._news:
                worker.body = None

    def _accept(self, body: Body, taken: Range) -> None:
        size = self._map.size
        if body.size is not None and body.size != size:
            raise WorldError("SIZE_MISMATCH", f"the object has {body.size} bytes, campaign.json says {size}")
        if body.start != taken.at:
            if body.start == 0:
                raise RangesIgnored
            raise WorldError("NETWORK", f"the store answered from byte {body.start}, not from {taken.at}")
        if body.etag != self._etag:
            raise WorldError("OBJECT_CHANGED", "the store sent a range of another object than was asked for")

    def _read(self, worker: _Worker, taken: Range, body: Body, descriptor: int, buffer: memoryview) -> None:
        means = self._means
        count = body.readinto(buffer[: max(1, min(means.limiter.piece, taken.left))])
        if count == 0:
            raise WorldError("SHORT_BODY", f"the body ended at byte {taken.at}, before {taken.end}")
        if self._over:
            return
        with translate_disk_errors(self._key):
            written = 0
            while written < count:
                written += os.pwrite(descriptor, buffer[written:count], taken.at + written)
        with self._news:
            # Meanwhile another may have taken over the end of it.
            new = min(count, taken.left)
            self._map.advance(taken, new)
            worker.moved_at = time.monotonic()
            self._got += count
        failpoint("chunk-kept")
        means.streams.gained(count, means.limiter.rate)
        means.limiter.take(count, means.stop)
