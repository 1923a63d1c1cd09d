"""How many downloads run in this process: of one user, and in all. Thread-safe, touches nothing."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

DOWNLOADS_PER_USER: Final = 2
DOWNLOADS_IN_ALL: Final = 16  # a direct one holds a thread and a connection to the database


class TooManyDownloads(Exception):
    """The user, or the process, has too many downloads running. `str()` is a sentence for the user."""


class Downloads:
    """Counts running downloads by user."""

    def __init__(self, per_user: int, in_all: int) -> None:
        self._per_user, self._in_all = per_user, in_all
        self._running: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._running.total()

    def begin(self, user: int) -> Callable[[], None]:
        """Count one more; the returned function counts it out, once. Raises TooManyDownloads."""
        with self._lock:
            if self._running[user] >= self._per_user:
                raise TooManyDownloads(f"You already have {self._per_user} downloads running. Wait until one ends.")
            if len(self) >= self._in_all:
                raise TooManyDownloads("Too many downloads are running. Try again in a minute.")
            self._running[user] += 1
        return _Once(lambda: self._end(user))

    def _end(self, user: int) -> None:
        with self._lock:
            self._running[user] -= 1
            if not self._running[user]:
                del self._running[user]


class _Once:
    """Calls a function at the first call only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


downloads: Final = Downloads(DOWNLOADS_PER_USER, DOWNLOADS_IN_ALL)


def counted(request: HttpRequest, build: Callable[[], StreamingHttpResponse]) -> StreamingHttpResponse:
    """Return the response that `build` makes, counted until it ends. Raises TooManyDownloads.

    Only a server of many clients at a time is limited: not a job, and not Django's test client.
    """
    if not isinstance(request, ASGIRequest):
        return build()
    end = downloads.begin(request.user.pk or 0)
    try:
        response = build()
    except BaseException:
        end()
        raise
    response._resource_closers.append(end)  # type: ignore[attr-defined]  # as FileResponse does
    weakref.finalize(response, end)  # Django does not close a response whose client left while it was made
    return response
