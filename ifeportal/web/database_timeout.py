"""No page waits for a database that does not answer: what takes long asks whether it is there, and says 503 if not.

A database that refuses is told at once, by Django's own way. One that swallows connections would hold each request for
as long as the driver waits, which is never less than two seconds, or for minutes where it died in the middle of a
query. This stands in front of the pages, in the event loop, where nothing waits for the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from django.db import connection

from ifeportal.web.errors import unavailable

PATIENCE: Final = 0.5  # seconds; a request that takes longer asks whether the database is there, again after twice that
PROBE: Final = 1.2  # seconds the database has to answer; both together stay below two
# So often within that time. Where this process itself hardly gets to run, each look comes late, and the database, which
# cannot help it either, is given as much longer.
LOOKS: Final = 12
Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
LEFT_ALONE: Final = ("/healthz", "/metrics")  # they have an answer of their own to that


class Punctual:
    """The application, but for what the database keeps waiting."""

    def __init__(self, application: Callable[[dict[str, Any], Receive, Send], Awaitable[None]]) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(4, "probe")
        self._asked: asyncio.Future[bool] | None = None
        self._asked_at = 0.0
        self._work: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] in LEFT_ALONE:
            await self._application(scope, receive, send)
            return
        answer = _Answer(send)
        work: asyncio.Future[None] = asyncio.ensure_future(self._application(scope, receive, answer.send))
        self._work.add(work)  # the loop itself keeps none
        work.add_done_callback(self._ended)
        try:
            await self._serve(scope["path"], work, answer)
        finally:
            # Its thread goes on until the driver gives up, but nobody waits for it.
            work.cancel()

    async def _serve(self, path: str, work: asyncio.Future[None], answer: _Answer) -> None:
        patience = PATIENCE
        while not await answer.begins(work, patience):
            if not await self._database_answers() and not answer.begun.is_set() and not work.done():
                await answer.give_up(path)
                return
            patience *= 2
        await work

    async def _database_answers(self) -> bool:
        """Whether it answers in time; all who want to know it at about the same time ask once."""
        loop = asyncio.get_running_loop()
        asked = self._asked
        if asked is None or asked.done() or loop.time() - self._asked_at > PROBE:
            asked = self._asked = loop.run_in_executor(self._threads, _answers)
            self._asked_at = loop.time()
        for _ in range(LOOKS):
            done, _ = await asyncio.wait({asked}, timeout=PROBE / LOOKS)
            if done:
                return asked.result()
        return False

    def _ended(self, work: asyncio.Future[None]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # whoever was served has had it


class _Answer:
    """What is sent of an answer, until it is given up."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._given_up = False
        self.begun = asyncio.Event()

    async def send(self, event: Event) -> None:
        """Pass it on."""
        if not self._given_up:
            self.begun.set()
            await self._send(event)

    async def begins(self, work: asyncio.Future[None], seconds: float) -> bool:
        """Whether it begins within so many seconds, or never will as the work has ended."""
        begun: asyncio.Future[Any] = asyncio.ensure_future(self.begun.wait())
        ends: set[asyncio.Future[Any]] = {begun, work}
        try:
            done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        return bool(done)

    async def give_up(self, path: str) -> None:
        """Say that the database does not answer; whatever comes later is dropped."""
        self._given_up = True
        response = unavailable(path)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.content})


def _answers() -> bool:
    """Ask it over a connection of its own."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseTrouble:
        return False
    finally:
        connection.close()
    return True
