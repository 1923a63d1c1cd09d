"""Waiting for a store with signs of life: a lease ends long before a store that limps has answered.

The requests run in threads, which never see the database; `alive` is called in the thread that waits, about once a
second, and what it raises ends the waiting.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from loader.s3.interface import Bucket, ObjectInfo

SIGN: Final = 1.0  # seconds between two signs of life
PAGE: Final = 1_000  # objects
PAGES_AHEAD: Final = 8  # bounds what waits in memory to a few megabytes
END: Final = None
A = TypeVar("A")
T = TypeVar("T")


def nothing() -> None:
    """Where nobody needs a sign of life."""


def awaited(future: Future[T], alive: Callable[[], None]) -> T:
    """The result. Raises what the call raised."""
    while True:
        alive()
        try:
            return future.result(SIGN)
        except TimeoutError:
            if future.done():
                return future.result()


def answers(threads: Executor, call: Callable[[A], T], to: Iterable[A], alive: Callable[[], None]) -> Iterator[T]:
    """The results of a call to each, several at once, in their order."""
    for future in [threads.submit(call, each) for each in to]:
        yield awaited(future, alive)


def prefixes(bucket: Bucket, prefix: str, alive: Callable[[], None]) -> list[str]:
    """The names directly below `prefix`. Raises WorldError."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefixes") as thread:
        return awaited(thread.submit(bucket.list_prefixes, prefix), alive)


class Ahead:
    """A listing that a thread reads while the caller is busy, at most `PAGES_AHEAD` ahead. To be closed."""

    def __init__(self, bucket: Bucket, prefix: str, alive: Callable[[], None] = nothing) -> None:
        self._alive = alive
        self._pages: queue.Queue[list[ObjectInfo] | Exception | None] = queue.Queue(PAGES_AHEAD)
        self._closed = threading.Event()
        # A daemon: one that waits for a store must not keep the process from ending.
        threading.Thread(target=self._read, args=(bucket, prefix), name="listing", daemon=True).start()

    def __iter__(self) -> Iterator[ObjectInfo]:
        """The objects, as they come. Raises what the listing raised."""
        while (page := self._next()) is not END:
            if isinstance(page, Exception):
                raise page
            yield from page

    def close(self) -> None:
        """Read no further."""
        self._closed.set()

    def _next(self) -> list[ObjectInfo] | Exception | None:
        while True:
            self._alive()
            try:
                return self._pages.get(timeout=SIGN)
            except queue.Empty:
                continue

    def _read(self, bucket: Bucket, prefix: str) -> None:
        last: Exception | None = END
        try:
            objects = iter(bucket.list(prefix))
            while not self._closed.is_set() and (page := list(islice(objects, PAGE))):
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
