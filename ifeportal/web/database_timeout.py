"""ASGI middleware: answer 503 within two seconds when the database does not answer.

A database that refuses connections fails at once, through Django. One that drops packets would block each request as
long as the driver waits: never under two seconds, minutes if it dies in the middle of a query. This runs in the event
loop, where nothing waits for the database.
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

RESPONSE_TIMEOUT: Final = (
    0.5  # seconds; a request that takes longer asks whether the database is there, again after twice that
)
PROBE_TIMEOUT: Final = 1.2  # seconds the database has to answer; both together stay below two
# So often within that time. Where this process itself hardly gets to run, each look comes late, and the database, which
# cannot help it either, is given as much longer.
CHECKS_PER_PROBE: Final = 12
EXCLUDED_PATHS: Final = ("/healthz", "/metrics")  # they have an answer of their own to that


class DatabaseTimeout:
    """The application, but for what the database keeps waiting."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(4, "probe")
        self._probe_result: asyncio.Future[bool] | None = None
        self._probed_at = 0.0
        self._work: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] in EXCLUDED_PATHS:
            await self._application(scope, receive, send)
            return
        answer = _Response(send)
        work: asyncio.Future[None] = asyncio.ensure_future(self._application(scope, receive, answer.send))
        self._work.add(work)  # the loop itself keeps none
        work.add_done_callback(self._on_done)
        try:
            await self._serve(scope["path"], work, answer)
        finally:
            # Its thread goes on until the driver gives up, but nobody waits for it.
            work.cancel()

    async def _serve(self, path: str, work: asyncio.Future[None], answer: _Response) -> None:
        patience = RESPONSE_TIMEOUT
        while not await answer.wait_for_start(work, patience):
            if not await self._database_answers() and not answer.started.is_set() and not work.done():
                await answer.replace_with_503(path)
                return
            patience *= 2
        await work

    async def _database_answers(self) -> bool:
        """Whether it answers in time; all who want to know it at about the same time ask once."""
        loop = asyncio.get_running_loop()
        asked = self._probe_result
        if asked is None or asked.done() or loop.time() - self._probed_at > PROBE_TIMEOUT:
            asked = self._probe_result = loop.run_in_executor(self._threads, _probe)
            self._probed_at = loop.time()
        for _ in range(CHECKS_PER_PROBE):
            done, _ = await asyncio.wait({asked}, timeout=PROBE_TIMEOUT / CHECKS_PER_PROBE)
            if done:
                return asked.result()
        return False

    def _on_done(self, work: asyncio.Future[None]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # whoever was served has had it


class _Response:
    """What is sent of an answer, until it is given up."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replaced = False
        self.started = asyncio.Event()

    async def send(self, event: ASGIMessage) -> None:
        """Pass it on."""
        if not self._replaced:
            self.started.set()
            await self._send(event)

    async def wait_for_start(self, work: asyncio.Future[None], seconds: float) -> bool:
        """Whether it begins within so many seconds, or never will as the work has ended."""
        begun: asyncio.Future[Any] = asyncio.ensure_future(self.started.wait())
        ends: set[asyncio.Future[Any]] = {begun, work}
        try:
            done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        return bool(done)

    async def replace_with_503(self, path: str) -> None:
        """Say that the database does not answer; whatever comes later is dropped."""
        self._replaced = True
        await send_response(database_unavailable(path), self._send)


def _probe() -> bool:
    """Ask it over a connection of its own."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseTrouble:
        return False
    finally:
        connection.close()
    return True
