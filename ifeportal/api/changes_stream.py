"""Long poll and server-sent events of /api/v1/changes/, without a thread, a connection or a query for each client.

The application authorises a request and returns its scope (`feed_query.ChangesRequest`); from then on only the feed
reader of this process queries the database. A stream is authorised again every 30 s by the same application, so a
disabled token or user, an ended session or a lost membership or role ends it. The server has no back-pressure: a
stream ends after a bounded number of bytes, and the client reconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.http import HttpResponse

from ifeportal.api.changes import EVENT_STREAM, SCOPE_KEY, page_event, page_json, too_old_response
from ifeportal.live.connections import connected, disconnected, in_thread, open_sockets
from ifeportal.live.feed_query import ChangesPage, ChangesRequest, changes_since
from ifeportal.live.reader import FeedReader
from ifeportal.live.subscription import Subscription
from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import database_unavailable
from ifeportal.web.problems import problem

PATH: Final = "/api/v1/changes/"
REAUTHORISE = 30.0  # seconds
PING = 15.0  # seconds
MAX_STREAM_SECONDS = 900.0  # seconds; then its reader comes again
STREAM_LIMIT = 2 * 2**20  # bytes, likewise
RETRY_AFTER: Final = 5  # seconds
Headers = list[tuple[bytes, bytes]]
logger = logging.getLogger(__name__)


class StreamEnded(Exception):
    """The stream is not to go on."""


class ChangesStream:
    """The application, but for questions that wait."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] == PATH and scope["method"] == "GET":
            await _Request(self._application, scope, receive, send).serve()
        else:
            await self._application(scope, receive, send)


class _Request:
    """One request, from its question to the end of its answer."""

    def __init__(self, application: ASGIApplication, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._application, self._scope, self._receive, self._send = application, scope, receive, send
        self._reader = FeedReader.current()
        self._wake = asyncio.Event()
        self._sent = 0
        self._common_headers: Headers = []  # what every answer carries, as the application has it

    async def serve(self) -> None:
        """Have the question authorised; answer it, wait or stream."""
        hearing, answer = await self._authorise()
        if hearing.scope is None or hearing.user is None:
            for said in answer:
                await self._send(said)
            return
        self._common_headers = answer[0]["headers"]
        if open_sockets[hearing.user.pk] >= settings.LIVE_SOCKETS_PER_USER:
            await self._send_response(_too_many_connections())
            return
        connected(hearing.user.pk)
        subscription = Subscription(hearing.scope, self._wake.set)
        try:
            await self._respond(hearing, subscription, answer[0]["headers"])
        except DatabaseTrouble as error:
            logger.warning("changes: the database does not answer: %s", error)
            await self._send_response(database_unavailable(PATH))
        finally:
            self._reader.detach(subscription)
            disconnected(hearing.user.pk)

    async def _authorise(self, *, again: bool = False) -> tuple[ChangesRequest, list[ASGIMessage]]:
        """Have the application look at the question; what it understood, and what it would answer."""
        connection = {**self._scope, SCOPE_KEY: ChangesRequest(is_recheck=again)}
        answer: list[ASGIMessage] = []
        asked = False

        async def receive() -> ASGIMessage:
            nonlocal asked
            if asked:
                await asyncio.Future()  # who is there and who has left is seen here
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(said: ASGIMessage) -> None:
            answer.append(said)

        await self._application(connection, receive, send)
        return connection[SCOPE_KEY], answer

    async def _respond(self, hearing: ChangesRequest, subscription: Subscription, headers: Headers) -> None:
        """Subscribe first, then look up what was missed: nothing can slip through between the two."""
        await self._reader.attach(subscription)
        told = await in_thread(changes_since, hearing)
        if told is None:
            await self._send_response(too_old_response(PATH))
        elif hearing.stream:
            with _disconnection(self._receive) as left:
                await self._stream(hearing, subscription, told, headers, left)
        elif told.texts:
            await self._send_page(told, headers)
        else:
            subscription.begin(told.rev)
            with _disconnection(self._receive) as left:
                await self._long_poll(hearing, subscription, headers, left)

    async def _long_poll(
        self, hearing: ChangesRequest, subscription: Subscription, headers: Headers, left: asyncio.Future[None]
    ) -> None:
        """Answer with the first news, or after the time asked for without any."""
        batch = subscription.take(self._reader.rev)
        if batch is None:
            self._wake.clear()
            await self._wait(float(hearing.wait), left)
            batch = subscription.take(self._reader.rev)
        if left.done():
            return
        if subscription.closed:
            await self._send_response(database_unavailable(PATH))
        elif batch is None:
            await self._send_page(ChangesPage(subscription.rev(self._reader.rev)), headers)
        elif batch.reload:
            await self._send_response(too_old_response(PATH))
        else:
            await self._send_page(ChangesPage(batch.rev, batch.texts, batch.rev < self._reader.rev), headers)

    async def _stream(
        self,
        hearing: ChangesRequest,
        subscription: Subscription,
        told: ChangesPage,
        headers: Headers,
        left: asyncio.Future[None],
    ) -> None:
        kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"content-type")]
        kept += [(b"content-type", EVENT_STREAM.encode()), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": 200, "headers": kept})
        with contextlib.suppress(StreamEnded, DatabaseTrouble):
            await self._send_text("retry: 3000\n\n")
            told = await self._catch_up(hearing, told)
            subscription.begin(told.rev)
            await self._send_until_end(subscription, left)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _catch_up(self, hearing: ChangesRequest, told: ChangesPage) -> ChangesPage:
        """Send what was missed, page by page. Raises Ended."""
        await self._send_text(page_event(told))
        while told.more:
            further = await in_thread(changes_since, replace(hearing, since=told.rev))
            if further is None:
                await self._send_reload()
            else:
                told = further
                await self._send_text(page_event(told))
        return told

    async def _send_until_end(self, subscription: Subscription, left: asyncio.Future[None]) -> None:
        """Send news and signs of life until the stream has to end. Raises Ended."""
        clock = asyncio.get_running_loop().time
        end = clock() + MAX_STREAM_SECONDS
        ping_at, check_at = clock() + PING, clock() + REAUTHORISE
        while clock() < end and not left.done() and not subscription.closed:
            await self._send_pending(subscription)
            await self._wait(min(ping_at, check_at, end) - clock(), left)
            if clock() >= check_at:
                await self._reauthorise(subscription)
                check_at = clock() + REAUTHORISE
            if clock() >= ping_at:
                await self._send_text(f": still here\nid: {subscription.rev(self._reader.rev)}\n\n")
                ping_at = clock() + PING

    async def _send_pending(self, subscription: Subscription) -> None:
        while (batch := subscription.take(self._reader.rev)) is not None:
            if batch.reload:
                await self._send_reload()
            await self._send_text(page_event(ChangesPage(batch.rev, batch.texts, batch.rev < self._reader.rev)))

    async def _reauthorise(self, subscription: Subscription) -> None:
        """Have the question authorised afresh. Raises Ended if anything of what is heard was taken away."""
        hearing, answer = await self._authorise(again=True)
        if hearing.scope is None:
            if answer[0]["status"] != 503:  # without the database there is no news to keep from anyone either
                raise StreamEnded
        elif hearing.scope.is_narrower_than(subscription.scope) or hearing.scope.has_lower_role_than(
            subscription.scope
        ):
            raise StreamEnded
        else:
            subscription.scope = hearing.scope

    async def _wait(self, seconds: float, left: asyncio.Future[None]) -> None:
        """Until there is news, the time is over or the other side has left."""
        woken: asyncio.Future[Any] = asyncio.ensure_future(self._wake.wait())
        either: set[asyncio.Future[Any]] = {woken, left}
        try:
            await asyncio.wait(either, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._wake.clear()

    async def _send_text(self, text: str) -> None:
        """Send a part of the stream. Raises Ended once it was enough for one."""
        part = text.encode()
        self._sent += len(part)
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        if self._sent > STREAM_LIMIT:
            raise StreamEnded

    async def _send_reload(self) -> None:
        """Say that only a new beginning helps. Raises Ended."""
        await self._send_text("event: reload\ndata: {}\n\n")
        raise StreamEnded

    async def _send_page(self, told: ChangesPage, headers: Headers) -> None:
        content = page_json(told).encode()
        kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        kept.append((b"content-length", str(len(content)).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": kept})
        await self._send({"type": "http.response.body", "body": content})

    async def _send_response(self, response: HttpResponse) -> None:
        own = {name.lower().encode(): value.encode() for name, value in response.items()}
        own[b"content-length"] = str(len(response.content)).encode()
        headers = {name.lower(): value for name, value in self._common_headers} | own
        start = {"type": "http.response.start", "status": response.status_code, "headers": list(headers.items())}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": response.content})


def _too_many_connections() -> HttpResponse:
    headers = {"Retry-After": str(RETRY_AFTER)}
    return problem(429, "Too many connections of yours wait already.", PATH, kind="too-many-listeners", headers=headers)


@contextlib.contextmanager
def _disconnection(receive: Receive) -> Iterator[asyncio.Future[None]]:
    """A future that is done once the other side has left."""
    left = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        yield left
    finally:
        left.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
