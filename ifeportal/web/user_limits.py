"""ASGI middleware: each user has a few requests running at a time; further ones wait, without a thread.

Under ASGI every request has a thread of its own, so one user could slow down the process for all others. Users are
distinguished by their credentials, before any query: a session or token counts by itself until its user is known.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from django.conf import settings
from django.http import parse_cookie

from ifeportal.web.asgi_middleware import send_response
from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import too_many_at_once

MAX_RUNNING: Final = 4  # requests of one user
MAX_WAITING: Final = 40  # further ones: some dozen pages that reload at the same time after a restart
WAIT_TIMEOUT: Final = 20.0  # seconds
KNOWN_CREDENTIALS: Final = 10_000
UNLIMITED_PATHS: Final = ("/healthz", "/readyz", "/metrics")
USER_KEY: Final = "ifeportal.user"  # key of the ASGI scope at which Django's middleware leaves an AuthenticatedBy


@dataclass(frozen=True, slots=True)
class AuthenticatedBy:
    """The user id of a request, and whether it was authenticated by a token or by a session."""

    user: int
    by_token: bool


class TooManyAtOnce(Exception):
    """The queue of this user is full, or the wait timed out."""


@dataclass(slots=True)
class _Share:
    """The running and waiting requests of one user."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_RUNNING))
    requests: int = 0


class UserLimits:
    """Runs at most MAX_RUNNING requests of one user at a time. Anonymous requests pass."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._shares: dict[str, _Share] = {}
        self._users: OrderedDict[str, int] = OrderedDict()  # by digest of the credential

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        session, token = _credentials(scope)
        key = self._key(session, token)
        if key is None or scope["path"] in UNLIMITED_PATHS:
            await self._application(scope, receive, send)
            return
        try:
            async with self._turn(key) as release:
                await self._application(scope, receive, _releasing(send, release))
        except TooManyAtOnce:
            await send_response(too_many_at_once(scope["path"]), send)
        found = scope.get(USER_KEY)
        if isinstance(found, AuthenticatedBy):
            self._remember(token if found.by_token else session, found.user)

    def _key(self, session: str, token: str) -> str | None:
        """Return whose share the request is in. A further, invalid credential does not hide a known one."""
        for credential in (session, token):
            if credential in self._users:
                self._users.move_to_end(credential)
                return f"user {self._users[credential]}"
        return session or token or None

    def _remember(self, credential: str, user: int) -> None:
        if credential:
            self._users[credential] = user
            self._users.move_to_end(credential)
            while len(self._users) > KNOWN_CREDENTIALS:
                self._users.popitem(last=False)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[Release]:
        """Wait for a turn; `release` ends it early. Raises TooManyAtOnce."""
        share = self._shares.setdefault(key, _Share())
        if share.requests >= MAX_RUNNING + MAX_WAITING:
            raise TooManyAtOnce
        share.requests += 1
        try:
            release = Release(share.turns)
            try:
                async with asyncio.timeout(WAIT_TIMEOUT):
                    await share.turns.acquire()
            except TimeoutError as error:
                raise TooManyAtOnce from error
            try:
                yield release
            finally:
                release()
        finally:
            share.requests -= 1
            if not share.requests:
                del self._shares[key]


class Release:
    """Gives a turn back, once."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns

    def __call__(self) -> None:
        if self._turns is not None:
            self._turns.release()
            self._turns = None


def _releasing(send: Send, release: Release) -> Send:
    """Return a `send` that ends the turn with the first part of a streamed file, which has a limit of its own."""

    async def send_and_release(event: ASGIMessage) -> None:
        if event["type"] == "http.response.body" and event.get("more_body", False):
            release()
        await send(event)

    return send_and_release


def _credentials(scope: Mapping[str, Any]) -> tuple[str, str]:
    """Return digests of the session cookie and of the Authorization header; "" for none."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    session = cookies.get(settings.SESSION_COOKIE_NAME, "")
    return _digest(session.encode()), _digest(headers.get(b"authorization", b""))


def _digest(credential: bytes) -> str:
    return sha256(credential).hexdigest() if credential else ""
