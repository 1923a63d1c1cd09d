"""Calls to an object store in threads, while the calling thread renews its lease: a slow response may outlast it.

The threads never use the database. The lease's heartbeat runs in the calling thread about once a second; an exception
from it ends the wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.s3.interface import Bucket, ObjectInfo

HEARTBEAT_INTERVAL: Final = 1.0  # seconds between two heartbeats of the lease
PAGE_SIZE: Final = 1_000  # objects
PAGES_AHEAD: Final = 32  # limits the memory of pending pages to about 12 MB
END: Final = None
A = TypeVar("A")
T = TypeVar("T")


def wait_for(future: Future[T], lease: WorkLease) -> T:
    """Return the result of the call. Raises what the call or the lease raises."""
    while True:
        lease.heartbeat()
        try:
            return future.result(HEARTBEAT_INTERVAL)
        except TimeoutError:
            if future.done():
                return future.result()


def call(function: Callable[[], T], lease: WorkLease) -> T:
    """Return the result of the function, which a thread calls. Raises what the function or the lease raises."""
    with ThreadPoolExecutor(1, thread_name_prefix="store") as thread:
        return wait_for(thread.submit(function), lease)


def map_in_threads(threads: Executor, call: Callable[[A], T], arguments: Iterable[A], lease: WorkLease) -> Iterator[T]:
    """Yield the result of the call for each argument, in their order; several calls run at once."""
    for future in [threads.submit(call, each) for each in arguments]:
        yield wait_for(future, lease)


def list_prefixes(bucket: Bucket, prefix: str, lease: WorkLease) -> list[str]:
    """Return the names directly below `prefix`. Raises WorldError."""
    return call(partial(bucket.list_prefixes, prefix), lease)


class PrefetchedListing:
    """A listing that a thread reads ahead of the caller, at most `pages_ahead` pages. Close it after use."""

    def __init__(
        self, bucket: Bucket, prefix: str, lease: WorkLease = NO_LEASE, pages_ahead: int = PAGES_AHEAD
    ) -> None:
        self._lease = lease
        self._pages: queue.Queue[list[ObjectInfo] | Exception | None] = queue.Queue(pages_ahead)
        self._closed = threading.Event()
        # A daemon thread, so that one waiting for the store does not keep the process from exiting.
        threading.Thread(target=self._read_pages, args=(bucket, prefix), name="listing", daemon=True).start()

    def __iter__(self) -> Iterator[ObjectInfo]:
        """Yield the objects in the order of the listing. Raises what the listing or the lease raises."""
        while (page := self._next_page()) is not END:
            if isinstance(page, Exception):
                raise page
            yield from page

    def close(self) -> None:
        """Stop reading ahead."""
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
