"""Long poll and server-sent events of the API, without a thread, a connection or a query for each client.

The application authorises a request and returns its scope (`feed_query.ChangesRequest`); from then on only the feed
reader of this process queries the database. A request is authorised again by the same application when
`RevocationWatcher` has seen a change of its token, session, user or memberships, and a stream every 30 s in any case. A
stream whose access has shrunk ends; a waiting request is answered at once. The server has no back-pressure: a stream
ends after a bounded number of bytes, and the client reconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.http import HttpResponse

from ifeportal.api.changes import EVENT_STREAM, SCOPE_KEY, page_event, page_json, too_old_response
from ifeportal.live.connections import connected, disconnected, in_thread, open_sockets
from ifeportal.live.feed_query import ChangesPage, ChangesRequest, changes_since
from ifeportal.live.reader import FeedReader
from ifeportal.live.scope import Scope
from ifeportal.live.sockets.revocation import AccessGrant, AuthorizedListener, RevocationWatcher
from ifeportal.live.subscription import Batch, Subscription
from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import database_unavailable
from ifeportal.web.problems import problem

PATH: Final = "/api/v1/changes/"
REAUTHORISE = 30.0  # seconds
PING = 14.0  # seconds; a client may expect a sign of life every 15 s
OPEN_LIMIT: Final = 2_000  # waiting requests of this process
MAX_STREAM_SECONDS = 900.0  # then the stream ends and the client reconnects
STREAM_LIMIT = 2 * 2**20  # bytes, likewise
RETRY_AFTER: Final = 5  # seconds
Headers = list[tuple[bytes, bytes]]


class Authorise(Protocol):
    """Authorises the request; `again`: only to see whether it still may, which does not count as a request."""

    async def __call__(self, *, again: bool = False) -> tuple[ChangesRequest, list[ASGIMessage]]: ...


logger = logging.getLogger(__name__)


class StreamEnded(Exception):
    """The stream must end; the client reconnects."""


class AccessLost(StreamEnded):
    """The request no longer has the access that it was given. `response`: the refusal; empty if access has shrunk."""

    def __init__(self, response: Sequence[ASGIMessage]) -> None:
        super().__init__()
        self.response = response


class ChangesStream:
    """Wraps the application and serves the requests that wait for changes; all others pass through."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    def serves(self, path: str) -> bool:
        """Return whether a GET of this path may wait."""
        return path == PATH

    @property
    def follower(self) -> type[Follower]:
        """The class that answers a request that waits."""
        return Follower

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and self.serves(scope["path"]):
            await WaitingRequest(self._application, self.follower, scope, receive, send).serve()
        else:
            await self._application(scope, receive, send)


class WaitingRequest:
    """One request as the client sent it: authorised, counted, and passed to a follower if it waits."""

    open = 0  # in this process

    def __init__(
        self,
        application: ASGIApplication,
        follower: type[Follower],
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        self._application, self._follower = application, follower
        self._scope, self._receive, self._send = scope, receive, send

    async def serve(self) -> None:
        """Pass on the application's response, unless the view left the request to wait."""
        request, messages = await self._authorise()
        if request.scope is None or request.user is None or request.grant is None:
            await send_all(messages, self._send)
            return
        response = StreamResponse(self._send, messages[0]["headers"])
        if open_sockets[request.user.pk] >= settings.LIVE_SOCKETS_PER_USER:
            await response.send(_too_many_connections(self._scope["path"]))
            return
        if WaitingRequest.open >= OPEN_LIMIT:
            await response.send(_server_is_full(self._scope["path"]))
            return
        connected(request.user.pk)
        WaitingRequest.open += 1
        follower = self._follower(request, request.scope, request.grant, response, self._authorise)
        try:
            await follower.respond(self._receive)
        except DatabaseTrouble as error:
            logger.warning("changes: the database is not responding: %s", error)
            await response.send(database_unavailable(self._scope["path"]))
        finally:
            follower.close()
            WaitingRequest.open -= 1
            disconnected(request.user.pk)

    async def _authorise(self, *, again: bool = False) -> tuple[ChangesRequest, list[ASGIMessage]]:
        """Have the application serve the request; return the request as the view parsed it, and the response."""
        connection = {**self._scope, SCOPE_KEY: ChangesRequest(is_recheck=again)}
        messages: list[ASGIMessage] = []
        was_read = False

        async def receive() -> ASGIMessage:
            nonlocal was_read
            if was_read:
                await asyncio.Future()  # only the follower watches for the disconnection
            was_read = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: ASGIMessage) -> None:
            messages.append(message)

        await self._application(connection, receive, send)
        return connection[SCOPE_KEY], messages


class StreamResponse:
    """What is sent to one client. `headers` are those of the application, which every response has."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self._bytes_streamed = 0

    async def send(self, response: HttpResponse) -> None:
        """Send a complete response in place of the application's."""
        own = {name.lower().encode(): value.encode() for name, value in response.items()}
        own[b"content-length"] = str(len(response.content)).encode()
        headers = {name.lower(): value for name, value in self._headers} | own
        await self._start(response.status_code, list(headers.items()))
        await self._send({"type": "http.response.body", "body": response.content})

    async def send_messages(self, messages: Sequence[ASGIMessage]) -> None:
        """Send the application's own response."""
        await send_all(messages, self._send)

    async def send_page(self, page: ChangesPage) -> None:
        """Send one page of changes as JSON."""
        content = page_json(page).encode()
        headers = [(name, value) for name, value in self._headers if name.lower() != b"content-length"]
        await self._start(200, [*headers, (b"content-length", str(len(content)).encode())])
        await self._send({"type": "http.response.body", "body": content})

    async def start_stream(self) -> None:
        """Send the head of a stream of events."""
        replaced = (b"content-length", b"content-type")
        headers = [(name, value) for name, value in self._headers if name.lower() not in replaced]
        headers += [(b"content-type", EVENT_STREAM.encode()), (b"x-accel-buffering", b"no")]
        await self._start(200, headers)

    async def send_text(self, text: str) -> None:
        """Send a part of the stream. Raises StreamEnded once STREAM_LIMIT is reached."""
        part = text.encode()
        self._bytes_streamed += len(part)
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        if self._bytes_streamed > STREAM_LIMIT:
            raise StreamEnded

    async def send_reload(self) -> None:
        """Tell the client to read the lists again. Raises StreamEnded."""
        await self.send_text("event: reload\ndata: {}\n\n")
        raise StreamEnded

    async def end_stream(self) -> None:
        """Complete the stream."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


class Follower:
    """Follows the feed for one request that waits, and answers it: with one page, or with a stream."""

    def __init__(
        self,
        request: ChangesRequest,
        scope: Scope,
        grant: AccessGrant,
        response: StreamResponse,
        authorise: Authorise,
    ) -> None:
        assert request.user is not None
        self._request = request
        self._response = response
        self._authorise = authorise
        self._reader = FeedReader.current()
        self._wake = asyncio.Event()
        self._subscription = Subscription(scope, self._wake.set)
        self._recheck_due = False
        self._revocations = RevocationWatcher.current()
        self._authorized = AuthorizedListener(grant.credential, request.user.pk, grant.access, self._request_recheck)
        self._revocations.add(self._authorized)

    def close(self) -> None:
        """Receive nothing more."""
        self._revocations.remove(self._authorized)
        self._reader.detach(self._subscription)

    def _request_recheck(self) -> None:
        self._recheck_due = True
        self._wake.set()

    async def respond(self, receive: Receive) -> None:
        """Subscribe before reading what was missed, so that no change falls between the two."""
        await self._reader.attach(self._subscription)
        page = await in_thread(changes_since, self._request)
        if page is None:
            await self._response.send(too_old_response(PATH))
        elif self._request.stream:
            with disconnection(receive) as left:
                await self._stream(page, left)
        elif page.texts:
            await self._response.send_page(page)
        else:
            self._subscription.begin(page.rev)
            with disconnection(receive) as left:
                await self._long_poll(left)

    async def _long_poll(self, left: asyncio.Future[None]) -> None:
        """Answer with the first changes, or after the requested time without any, or when access is lost."""
        try:
            batch = await self._first_batch(left)
        except AccessLost as lost:
            if lost.response:
                await self._response.send_messages(lost.response)
            else:  # the next request, from the same revision, gets what is still visible
                await self._response.send_page(ChangesPage(self._request.since or 0))
            return
        if left.done():
            return
        if self._subscription.closed:
            await self._response.send(database_unavailable(PATH))
        elif batch is None:
            await self._response.send_page(ChangesPage(self._subscription.rev(self._reader.rev)))
        elif batch.reload:
            await self._response.send(too_old_response(PATH))
        else:
            await self._response.send_page(self._page(batch))

    async def _first_batch(self, left: asyncio.Future[None]) -> Batch | None:
        """Return the first changes; None after the requested time, or if the client left. Raises AccessLost."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._request.wait
        batch = self._subscription.take(self._reader.rev)
        while batch is None and clock() < end and not left.done() and not self._subscription.closed:
            await self._wait(end - clock(), left)
            if self._recheck_due:
                await self._reauthorise()
            batch = self._subscription.take(self._reader.rev)
        return batch

    async def _stream(self, page: ChangesPage, left: asyncio.Future[None]) -> None:
        await self._response.start_stream()
        with contextlib.suppress(StreamEnded, DatabaseTrouble):
            await self._response.send_text("retry: 3000\n\n")
            self._subscription.begin(await self._catch_up(page))
            await self._send_until_end(left)
        await self._response.end_stream()

    async def _catch_up(self, page: ChangesPage) -> int:
        """Send what was missed, page by page, and return the last revision. Raises StreamEnded."""
        await self._response.send_text(page_event(page))
        while page.more:
            further = await in_thread(changes_since, replace(self._request, since=page.rev))
            if further is None:
                await self._response.send_reload()
            else:
                page = further
                await self._response.send_text(page_event(page))
        return page.rev

    async def _send_until_end(self, left: asyncio.Future[None]) -> None:
        """Send changes and signs of life until the stream has to end. Raises StreamEnded."""
        clock = asyncio.get_running_loop().time
        end = clock() + MAX_STREAM_SECONDS
        ping_at, check_at = clock() + PING, clock() + REAUTHORISE
        while clock() < end and not left.done() and not self._subscription.closed:
            await self._send_pending()
            await self._wait(min(ping_at, check_at, end) - clock(), left)
            if self._recheck_due or clock() >= check_at:
                await self._reauthorise()
                check_at = clock() + REAUTHORISE
            if clock() >= ping_at:
                await self._response.send_text(f": still here\nid: {self._subscription.rev(self._reader.rev)}\n\n")
                ping_at = clock() + PING

    async def _send_pending(self) -> None:
        while (batch := self._subscription.take(self._reader.rev)) is not None:
            if batch.reload:
                await self._response.send_reload()
            await self._response.send_text(page_event(self._page(batch)))

    def _page(self, batch: Batch) -> ChangesPage:
        return ChangesPage(batch.rev, batch.texts, batch.rev < self._reader.rev)

    async def _reauthorise(self) -> None:
        """Authorise the request again. Raises AccessLost if it was refused, or lost an airline or a role."""
        self._recheck_due = False
        request, messages = await self._authorise(again=True)
        if request.scope is None or request.grant is None:
            if messages[0]["status"] != 503:  # without the database there are no changes to withhold either
                raise AccessLost(messages)
        elif _has_shrunk(request.scope, self._subscription.scope):
            raise AccessLost([])
        else:
            self._subscription.scope, self._authorized.access = request.scope, request.grant.access

    async def _wait(self, seconds: float, left: asyncio.Future[None]) -> None:
        """Wait for changes or the disconnection, at most this many seconds."""
        woken: asyncio.Future[Any] = asyncio.ensure_future(self._wake.wait())
        either: set[asyncio.Future[Any]] = {woken, left}
        try:
            await asyncio.wait(either, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._wake.clear()


def _has_shrunk(scope: Scope, earlier: Scope) -> bool:
    return scope.is_narrower_than(earlier) or scope.has_lower_role_than(earlier)


async def send_all(messages: Sequence[ASGIMessage], send: Send) -> None:
    for message in messages:
        await send(message)


def _too_many_connections(path: str) -> HttpResponse:
    headers = {"Retry-After": str(RETRY_AFTER)}
    return problem(429, "You already have too many open connections.", path, kind="too-many-listeners", headers=headers)


def _server_is_full(path: str) -> HttpResponse:
    headers = {"Retry-After": str(RETRY_AFTER)}
    return problem(503, "The portal has too many open connections.", path, kind="too-many-listeners", headers=headers)


@contextlib.contextmanager
def disconnection(receive: Receive) -> Iterator[asyncio.Future[None]]:
    """Yield a future that is done once the client has disconnected."""
    left = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        yield left
    finally:
        left.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
