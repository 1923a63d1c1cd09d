"""Downloads one item over several connections at once, each with a range of its own.

The thread that calls `ParallelDownload.run` is the leader. It starts workers as `loader.transfer.concurrency` allows,
hashes up to the first gap by reading the file back, records on disk which bytes are there, and decides what an error
means. A worker requests a range of the object with the part's ETag and writes it in place. A worker that hangs in a
connection is left behind: it has its own descriptor, and it checks whether the download is over before it writes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

from loader.errors import Cause, Code, Stopped, WorldError
from loader.failpoints import failpoint
from loader.s3.interface import Body
from loader.s3.retry import RetryBudget
from loader.storage.directory import translate_disk_errors
from loader.storage.partial_file import PartialFile
from loader.transfer.context import DownloadContext, DownloadObserver
from loader.transfer.range_allocator import ByteRange, RangeAllocator
from loader.transfer.rate_limit import LowSpeedGuard
from loader.transfer.same_object import check_same_object

log = logging.getLogger("loader")

RANGE_SECONDS: Final = 4.0  # seconds that a range should take, at least
RANGE_LATENCIES: Final = 20.0  # and at least so many times the latency, during which the connection is idle
MIN_RANGE: Final = 256 * 1024  # bytes of a range, unless less is left
MAX_AHEAD: Final = 128 * 1024 * 1024  # bytes that may be written beyond the hashed ones
TICK: Final = 0.1  # seconds between two rounds of the leader
BUFFER: Final = 64 * 1024
JOIN_TIMEOUT: Final = 0.5  # seconds for workers to end
STALL_SECONDS: Final = 3.0  # seconds without a byte, while others receive some, after which a connection is replaced
STALL_LATENCIES: Final = 6.0  # but not before so many times the latency


class RangesIgnored(WorldError):
    """The store answers a request for a range with the complete object."""

    def __init__(self) -> None:
        super().__init__(Code.NETWORK, "the store ignores ranges")


class _Worker:
    """A connection and the range assigned to it."""

    def __init__(self, assigned: ByteRange) -> None:
        self.assigned: ByteRange | None = assigned
        self.body: Body | None = None
        self.last_byte_at = time.monotonic()
        self.answered = False
        self.aborted = False


class ParallelDownload:
    """Downloads missing bytes of one partial file. Call `run` once."""

    def __init__(
        self,
        key: str,
        part: PartialFile,
        context: DownloadContext,
        observer: DownloadObserver,
        budget: RetryBudget,
        *,
        if_match: str | None,
    ) -> None:
        """`part` has an ETag and at least its first byte.

        `if_match`: that ETag, None if the store refuses conditions.
        """
        self._key, self._part, self._context, self._observer, self._budget = key, part, context, observer, budget
        self._allocator = RangeAllocator(part.item.size, [(0, part.written_bytes), *part.detached])
        self._if_match = if_match
        self._condition = threading.Condition()
        self._workers: dict[_Worker, threading.Thread] = {}
        self._failures: list[tuple[WorldError, bool, bool]] = []  # error, had a response, was the last worker
        self._over = False
        self._acquired = self._received_bytes = 0
        self._pause_until = -math.inf

    def run(self) -> None:
        """Download until all bytes are there, or one connection may continue alone. Raises WorldError, Stopped."""
        try:
            self._lead()
        finally:
            self._end()
            self._hash_new_bytes(math.inf)
        self._part.end_ranges()

    # The leader.

    def _lead(self) -> None:
        guard = LowSpeedGuard(self._context.current_min_rate, self._context.min_rate_time)
        while self._start_workers():
            with self._condition:
                self._condition.wait(TICK)
            self._hash_new_bytes(self._context.flush_after)
            if self._context.stop.is_set():
                raise Stopped
            self._check_failures()
            self._abort_stalled()
            self._context.check_speed(guard, self._received_bytes)

    def _start_workers(self) -> bool:
        """Start as many workers as are allowed and useful. Return False if there is nothing left to do."""
        share, length = self._limits()
        with self._condition:
            while len(self._workers) < share and time.monotonic() >= self._pause_until:
                if self._workers and not self._acquire():
                    break
                byte_range = self._allocate(share, length)
                if byte_range is None:
                    break
                self._start_worker(byte_range)
            self._release_spare()
            waiting = self._allocator.contiguous_end < self._allocator.size and time.monotonic() < self._pause_until
            return bool(self._workers or self._failures or self._allocator.detached or waiting)

    def _acquire(self) -> bool:
        # Items that start together would otherwise each use the connections meant for all of them.
        acquired = self._context.connections.acquire()
        self._acquired += acquired
        return acquired

    def _release_spare(self) -> None:
        spare = self._acquired - max(0, len(self._workers) - 1)
        if spare > 0:
            self._acquired -= spare
            self._context.connections.release(spare)

    def _limits(self) -> tuple[int, int]:
        """Return how many connections this item may use, and how many bytes to request over each."""
        budget = self._context.connections
        share, seconds = budget.connections_per_item(), max(RANGE_SECONDS, RANGE_LATENCIES * budget.min_latency)
        return share, max(MIN_RANGE, min(int(budget.rate_per_connection() * seconds), MAX_AHEAD // (2 * share)))

    def _allocate(self, share: int, length: int) -> ByteRange | None:
        if share == 1 and not self._allocator.detached:
            return None
        return self._allocator.allocate(length, 2 * share * length)

    def _start_worker(self, assigned: ByteRange) -> None:
        try:
            descriptor = self._part.open_for_ranges()
        except WorldError:
            self._allocator.release(assigned)
            raise
        worker = _Worker(assigned)
        # A daemon thread: one that hangs in a connection must not keep the process from exiting.
        thread = threading.Thread(target=self._work, args=(worker, descriptor), name="range", daemon=True)
        self._workers[worker] = thread
        thread.start()

    def _hash_new_bytes(self, flush_after: float) -> None:
        with self._condition:
            received = self._allocator.received
        before = self._part.bytes_done
        self._part.hash_contiguous(received, flush_after)
        if self._part.bytes_done != before:
            self._observer.on_progress(self._part.bytes_done)

    def _check_failures(self) -> None:
        """Raise an error of a worker if it ends the download; otherwise start no workers for a while."""
        with self._condition:
            failures, self._failures = self._failures, []
        for error, answered, was_last in failures:
            if error.permanent or error.cause is Cause.DISK or isinstance(error, RangesIgnored) or was_last:
                raise error
            # Connections that fail together count as one failed try.
            if time.monotonic() >= self._pause_until:
                self._pause(error, answered)

    def _pause(self, error: WorldError, answered: bool) -> None:
        if not answered:
            self._context.connections.back_off()
        wait = self._budget.next_delay(self._part.bytes_done, error.retry_after)
        if wait is None:
            raise error
        self._pause_until = time.monotonic() + wait
        self._observer.on_retry(error, wait, self._budget.failures)

    def _abort_stalled(self) -> None:
        now, timeout = time.monotonic(), max(STALL_SECONDS, STALL_LATENCIES * self._context.connections.min_latency)
        with self._condition:
            receiving = any(now - worker.last_byte_at < 1.0 for worker in self._workers)
            for worker in self._workers:
                if receiving and worker.body and now - worker.last_byte_at > timeout and not worker.aborted:
                    worker.aborted = True
                    worker.body.abort()

    def _end(self) -> None:
        with self._condition:
            self._over = True
            threads = list(self._workers.values())
            for worker in self._workers:
                if worker.body:
                    worker.body.abort()
        deadline = time.monotonic() + JOIN_TIMEOUT
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._observer.on_body_opened(None)

    # The workers.

    def _work(self, worker: _Worker, descriptor: int) -> None:
        error: WorldError | None = None
        buffer = memoryview(bytearray(BUFFER))
        try:
            while byte_range := self._next(worker):
                self._fetch(worker, byte_range, descriptor, buffer)
        except Stopped:
            pass
        except WorldError as failure:
            error = failure
        except BaseException as failure:
            # The edge of a thread.
            log.exception("Failed to download a range of %s", self._key)
            error = WorldError(Code.INTERNAL, f"unexpected error ({type(failure).__name__})")
        finally:
            with contextlib.suppress(OSError):  # the leader waits for the end of each worker
                os.close(descriptor)
            self._leave(worker, error)

    def _next(self, worker: _Worker) -> ByteRange | None:
        """Return the range assigned at the start, then the next one; None if the worker is no longer needed."""
        share, length = self._limits()
        with self._condition:
            if worker.assigned and worker.assigned.position > worker.assigned.start:
                self._allocator.release(worker.assigned)
                worker.assigned = None if len(self._workers) > share else self._allocate(share, length)
                self._condition.notify()
            worker.answered, worker.last_byte_at = False, time.monotonic()
            return None if self._over else worker.assigned

    def _leave(self, worker: _Worker, error: WorldError | None) -> None:
        with self._condition:
            if worker.assigned:
                self._allocator.release(worker.assigned)
            del self._workers[worker]
            self._release_spare()
            if error and not worker.aborted:
                self._failures.append((error, worker.answered, not self._workers))
            self._condition.notify()

    def _fetch(self, worker: _Worker, assigned: ByteRange, descriptor: int, buffer: memoryview) -> None:
        requested_at, start, end = time.monotonic(), assigned.position, assigned.end
        with self._context.media.open(self._key, start=start, end=end, if_match=self._if_match) as body:
            self._check_answer(body, assigned)
            latency = time.monotonic() - requested_at
            with self._reading(worker, body), self._context.connections.track_connection(latency):
                while not self._over and assigned.remaining > 0:
                    self._read(worker, assigned, body, descriptor, buffer)

    @contextlib.contextmanager
    def _reading(self, worker: _Worker, body: Body) -> Iterator[None]:
        with self._condition:
            worker.body, worker.answered, worker.last_byte_at = body, True, time.monotonic()
        self._observer.on_body_opened(body)
        try:
            yield
        finally:
            with self._condition:
                worker.body = None

    def _check_answer(self, body: Body, assigned: ByteRange) -> None:
        size = self._allocator.size
        if body.size is not None and body.size != size:
            raise WorldError(Code.SIZE_MISMATCH, f"the object has {body.size} bytes, campaign.json says {size}")
        if body.start != assigned.position:
            if body.start == 0:
                raise RangesIgnored
            raise WorldError(Code.NETWORK, f"the store answered from byte {body.start}, not from {assigned.position}")
        check_same_object(self._part, body)

    def _read(self, worker: _Worker, assigned: ByteRange, body: Body, descriptor: int, buffer: memoryview) -> None:
        context = self._context
        count = body.readinto(buffer[: max(1, min(context.limiter.read_size, assigned.remaining))])
        if count == 0:
            raise WorldError(Code.SHORT_BODY, f"the body ended at byte {assigned.position}, before {assigned.end}")
        if self._over:
            return
        with translate_disk_errors(self._key):
            written = 0
            while written < count:
                written += os.pwrite(descriptor, buffer[written:count], assigned.position + written)
        with self._condition:
            # A race: meanwhile another worker may have been assigned the end of this range.
            new = min(count, assigned.remaining)
            self._allocator.advance(assigned, new)
            worker.last_byte_at = time.monotonic()
            self._received_bytes += count
        failpoint("chunk-kept")
        context.connections.record_bytes(count, context.limiter.rate)
        context.limiter.wait_for(count, context.stop)
