"""Writes to a bucket with several threads, on schedule or as fast as possible. Touches only the bucket.

The writes of one tail stay in order; different tails are written at the same time. While the store is unreachable,
writes are retried.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from fleet.simulation.plan import PlannedWrite
from loader.errors import WorldError
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff, no_jitter

THREADS: Final = 8
QUEUE_SIZE: Final = 64  # writes queued for a thread; further ones are not yet generated
FIRST_PAUSE: Final = 0.1  # seconds
MAXIMUM_PAUSE: Final = 5.0  # seconds between two attempts while the store is unreachable
PROGRESS_INTERVAL: Final = 5.0  # seconds


class ParallelWriter:
    """Threads that write to one bucket. Leaving the `with` block waits until everything queued is written.

    When `stop` is set, nothing more is queued and failed writes are not retried.
    """

    def __init__(self, bucket: Bucket, stop: threading.Event) -> None:
        self._bucket = bucket
        self._stop = stop
        self._queues = [queue.Queue[PlannedWrite | None](QUEUE_SIZE) for _ in range(THREADS)]
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in self._queues]
        self._lock = threading.Lock()
        self._started: float | None = None
        self.puts = self.deletes = self.lost = 0
        self.lag = self.maximum_lag = 0.0
        self.failure: WorldError | None = None

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self._queues:
            each.put(None)
        for thread in self._threads:
            thread.join()

    def write_all(self, written: Iterable[PlannedWrite], on_progress: Callable[[], None], *, paced: bool) -> int:
        """Queue the writes, on schedule if `paced`, otherwise as fast as possible. Return how many were queued.

        Returns before the last are written. `on_progress` is called every few seconds. Ends early when `stop` is
        set, or after a permanent error (`failure`).
        """
        started = last_progress = time.monotonic()
        self._started = started if paced else None
        taken = 0
        for change in written:
            if paced:
                self._stop.wait(max(started + change.at - time.monotonic(), 0.0))
            if not self._take(change):
                break
            taken += 1
            if time.monotonic() - last_progress >= PROGRESS_INTERVAL:
                last_progress = time.monotonic()
                on_progress()
        return taken

    def _take(self, change: PlannedWrite) -> bool:
        """Queue the write for the thread of its tail, once there is room. False if the writer has ended."""
        pending = self._queues[zlib.crc32(change.key.rpartition("/")[0].encode()) % THREADS]
        while not self._stop.is_set() and self.failure is None:
            with suppress(queue.Full):
                pending.put(change, timeout=0.2)
                return True
        return False

    def _work(self, pending: queue.Queue[PlannedWrite | None]) -> None:
        while (change := pending.get()) is not None:
            if self.failure is not None:
                self._count(lost=1)
                continue
            try:
                self._write(change)
            except WorldError as error:
                self.failure = error
                self._count(lost=1)

    def _write(self, change: PlannedWrite) -> None:
        """Raises WorldError if the error is permanent, or if `stop` is set."""
        backoff = Backoff(None, FIRST_PAUSE, MAXIMUM_PAUSE, jitter=no_jitter)
        while True:
            try:
                if change.body is None:
                    self._bucket.delete(change.key)
                else:
                    self._bucket.put(change.key, change.body)
            except WorldError as error:
                if error.permanent or self._stop.is_set():
                    raise
                self._stop.wait(backoff.next_delay())
            else:
                break
        behind = 0.0 if self._started is None else max(time.monotonic() - self._started - change.at, 0.0)
        self._count(puts=change.body is not None, deletes=change.body is None, behind=behind)

    def _count(self, puts: int = 0, deletes: int = 0, lost: int = 0, behind: float = 0.0) -> None:
        with self._lock:
            self.puts, self.deletes, self.lost = self.puts + puts, self.deletes + deletes, self.lost + lost
            self.lag, self.maximum_lag = behind, max(self.maximum_lag, behind)
