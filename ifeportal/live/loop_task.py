"""A task that runs once per event loop while it is needed, with one thread for its database calls.

Touches the database only in the calls it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar
from weakref import WeakKeyDictionary

from django.db import connection

T = TypeVar("T")


class LoopTask:
    """Base of the feed reader and the revocation watcher: a subclass starts the task and ends it."""

    name: str

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    @classmethod
    def current(cls) -> Self:
        """Return the one instance of the running event loop."""
        instances = _instances.setdefault(asyncio.get_running_loop(), {})
        instance: Self = instances.setdefault(cls, cls())
        return instance

    def _open_thread(self) -> None:
        self._thread = ThreadPoolExecutor(1, self.name)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work, name=self.name)

    async def _query(self, call: Callable[[], T]) -> T:
        assert self._thread is not None
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _close_connection(self) -> None:
        """Close the thread's connection to the database, which the next query opens again."""
        await self._query(_close_connection)

    def _end(self) -> None:
        """Cancel the task, unless it is the caller, and end the thread with its connection."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        if self._thread is not None:
            self._thread.submit(_close_connection)
            self._thread.shutdown(wait=False)
            self._thread = None


def _close_connection() -> None:
    connection.close()  # of the thread this runs in: a bound method would belong to the thread that submits it


_instances: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[type[LoopTask], Any]]] = WeakKeyDictionary()
