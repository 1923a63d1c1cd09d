"""Calls to an object store in threads, while the calling thread sends heartbeats: a slow answer outlasts a lease.

The threads never use the database; the lease's heartbeat runs in the calling thread about once a second, and what it
raises ends the wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.s3.interface import Bucket, ObjectInfo

HEARTBEAT_INTERVAL: Final = 1.0  # seconds between two signs of life
PAGE_SIZE: Final = 1_000  # objects
PAGES_AHEAD: Final = 8  # bounds what waits in memory to a few megabytes
END: Final = None
A = TypeVar("A")
T = TypeVar("T")


def wait_for(future: Future[T], lease: WorkLease) -> T:
    """The result. Raises what the call raised."""
    while True:
        lease.heartbeat()
        try:
            return future.result(HEARTBEAT_INTERVAL)
        except TimeoutError:
            if future.done():
                return future.result()


def map_in_threads(threads: Executor, call: Callable[[A], T], arguments: Iterable[A], lease: WorkLease) -> Iterator[T]:
    """The results of a call to each, several at once, in their order."""
    for future in [threads.submit(call, each) for each in arguments]:
        yield wait_for(future, lease)


def list_prefixes(bucket: Bucket, prefix: str, lease: WorkLease) -> list[str]:
    """The names directly below `prefix`. Raises WorldError."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefixes") as thread:
        return wait_for(thread.submit(bucket.list_prefixes, prefix), lease)


class PrefetchedListing:
    """A listing that a thread reads while the caller is busy, at most `PAGES_AHEAD` ahead. To be closed."""

    def __init__(self, bucket: Bucket, prefix: str, lease: WorkLease = NO_LEASE) -> None:
        self._lease = lease
        self._pages: queue.Queue[list[ObjectInfo] | Exception | None] = queue.Queue(PAGES_AHEAD)
        self._closed = threading.Event()
        # A daemon: one that waits for a store must not keep the process from ending.
        threading.Thread(target=self._read_pages, args=(bucket, prefix), name="listing", daemon=True).start()

    def __iter__(self) -> Iterator[ObjectInfo]:
        """The objects, as they come. Raises what the listing raised."""
        while (page := self._next_page()) is not END:
            if isinstance(page, Exception):
                raise page
            yield from page

    def close(self) -> None:
        """Read no further."""
        self._closed.set()

    def _next_page(self) -> list[ObjectInfo] | Exception | None:
        while True:
            self._lease.heartbeat()
            try:
                return self._pages.get(timeout=HEARTBEAT_INTERVAL)
            except queue.Empty:
                continue

    def _read_pages(self, bucket: Bucket, prefix: str) -> None:
        last: Exception | None = END
        try:
            objects = iter(bucket.list(prefix))
            while not self._closed.is_set() and (page := list(islice(objects, PAGE_SIZE))):
                self._put(page)
        except Exception as error:  # noqa: BLE001  the edge of a thread: raised where the listing is read
            last = error
        self._put(last)

    def _put(self, page: list[ObjectInfo] | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._pages.put(page, timeout=0.1)
            except queue.Full:
                continue
            return
