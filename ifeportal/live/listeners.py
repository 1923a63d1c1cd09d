"""Who listens to the feed in this process: how many connections each user holds, and the threads that ask for them.

Touches the database only in the calls it is given. A slow database holds up listeners only, not the requests.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections
from prometheus_client import Gauge

P = ParamSpec("P")
T = TypeVar("T")
open_sockets: Counter[int] = Counter()  # by user id
gauge = Gauge("ifeportal_live_sockets", "Open sockets of this process")
threads = ThreadPoolExecutor(4, "live")


def enter(user: int) -> None:
    """One more connection of this user."""
    open_sockets[user] += 1
    gauge.inc()


def leave(user: int) -> None:
    """One connection less."""
    open_sockets[user] -= 1
    if not open_sockets[user]:
        del open_sockets[user]
    gauge.dec()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that asks the database, in a thread of ours."""
    call = functools.partial(_call, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, call)


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()
