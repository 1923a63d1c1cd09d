"""ASGI middleware: respond with 503 within two seconds when the database does not respond.

A database that refuses connections fails immediately, in Django. A database that drops packets would block each request
for as long as the driver waits: at least two seconds, and minutes if it dies during a query. This middleware runs in
the event loop, where nothing waits for the database.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from django.db import connection

from ifeportal.web.asgi_middleware import send_response
from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import database_unavailable

RESPONSE_TIMEOUT: Final = 0.5  # seconds before a slow request probes the database; doubled after each probe
PROBE_TIMEOUT: Final = 1.2  # seconds for the database to respond to a probe; the sum of both stays below two
# The wait for a probe is divided into short waits. If this process gets little CPU time, each of them ends late, and
# the database, which is not at fault, gets that much more time.
CHECKS_PER_PROBE: Final = 12
EXCLUDED_PATHS: Final = ("/healthz", "/metrics")  # their views handle a missing database themselves


class DatabaseTimeout:
    """Passes requests to the application, and responds with 503 if one waits for a database that does not respond."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(4, "probe")
        self._probe_result: asyncio.Future[bool] | None = None
        self._probed_at = 0.0
        self._work: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] in EXCLUDED_PATHS:
            await self._application(scope, receive, send)
            return
        response = _Response(send)
        work: asyncio.Future[None] = asyncio.ensure_future(self._application(scope, receive, response.send))
        self._work.add(work)  # the event loop has only weak references to tasks
        work.add_done_callback(self._on_done)
        try:
            await self._serve(scope["path"], work, response)
        finally:
            # Its thread continues until the driver gives up, but nothing waits for it.
            work.cancel()

    async def _serve(self, path: str, work: asyncio.Future[None], response: _Response) -> None:
        timeout = RESPONSE_TIMEOUT
        while not await response.wait_for_start(work, timeout):
            if not await self._database_responds() and not response.started.is_set() and not work.done():
                await response.replace_with_503(path)
                return
            timeout *= 2
        await work

    async def _database_responds(self) -> bool:
        """Return whether the database responds in time. Concurrent requests share one probe."""
        loop = asyncio.get_running_loop()
        probe = self._probe_result
        if probe is None or probe.done() or loop.time() - self._probed_at > PROBE_TIMEOUT:
            probe = self._probe_result = loop.run_in_executor(self._threads, _probe)
            self._probed_at = loop.time()
        for _ in range(CHECKS_PER_PROBE):
            done, _ = await asyncio.wait({probe}, timeout=PROBE_TIMEOUT / CHECKS_PER_PROBE)
            if done:
                return probe.result()
        return False

    def _on_done(self, work: asyncio.Future[None]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # marks it as retrieved: `_serve` raises it, or has sent a 503


class _Response:
    """The response of the application, until a 503 replaces it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replaced = False
        self.started = asyncio.Event()

    async def send(self, event: ASGIMessage) -> None:
        """Pass a message on, unless the response is replaced."""
        if not self._replaced:
            self.started.set()
            await self._send(event)

    async def wait_for_start(self, work: asyncio.Future[None], seconds: float) -> bool:
        """Return whether the response started, or the work ended, within `seconds`."""
        started: asyncio.Future[Any] = asyncio.ensure_future(self.started.wait())
        futures: set[asyncio.Future[Any]] = {started, work}
        try:
            done, _ = await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        return bool(done)

    async def replace_with_503(self, path: str) -> None:
        """Send the 503 and drop all later messages of the application."""
        self._replaced = True
        await send_response(database_unavailable(path), self._send)


def _probe() -> bool:
    """Return whether the database responds, over a separate connection."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseTrouble:
        return False
    finally:
        connection.close()
    return True
