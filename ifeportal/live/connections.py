"""Open connections of this process by user, and the thread pool for their database calls.

Touches the database only in the calls it is given. A slow database delays subscribers, not requests.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from django.db import close_old_connections, connection
from prometheus_client import Gauge

P = ParamSpec("P")
T = TypeVar("T")
open_sockets: Counter[int] = Counter()  # by user id
open_sockets_gauge = Gauge("ifeportal_live_sockets", "Open sockets of this process")
THREADS: Final = 4
threads = ThreadPoolExecutor(THREADS, "live")
_unfinished: set[Future[Any]] = set()


def connected(user: int) -> None:
    """Count one more connection of this user."""
    open_sockets[user] += 1
    open_sockets_gauge.inc()


def disconnected(user: int) -> None:
    """Count one connection fewer."""
    open_sockets[user] -= 1
    if not open_sockets[user]:
        del open_sockets[user]
    open_sockets_gauge.dec()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that queries the database, in a thread of this pool, and return its result."""
    call = threads.submit(functools.partial(_call, function, *args, **kwargs))
    _unfinished.add(call)
    call.add_done_callback(_unfinished.discard)
    return await asyncio.wrap_future(call)


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        # While more calls wait than there are threads, a thread keeps its connection: connecting is most of the cost.
        if len(_unfinished) <= THREADS or connection.errors_occurred:
            close_old_connections()
