"""ASGI middleware in front of the whole application, whichever server runs it. Touches scopes and messages only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import body_too_large


class IgnoreRootPath:
    """Serve every request at the root of its host.

    daphne takes `root_path` from the request header Daphne-Root-Path. Django puts `root_path` in front of every link
    and redirect, so that a client could choose where they lead, even to another host.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass the connection on with an empty root path."""
        if "root_path" in scope:
            scope = {**scope, "root_path": ""}
        await self._application(scope, receive, send)


class BodyLimitExceeded(Exception):
    """More of a body arrived than any request may have."""


class BodyLimit:
    """Refuse a request body above BODY_LIMIT before the application stores it.

    Where daphne is the server, `daphne_request` has refused it already; other servers hand a body on as it arrives.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        received = 0

        async def receive_bounded() -> ASGIMessage:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if received > settings.BODY_LIMIT:
                raise BodyLimitExceeded
            return event

        try:
            if _declared_length(scope) > settings.BODY_LIMIT:
                raise BodyLimitExceeded
            await self._application(scope, receive_bounded, send)
        except BodyLimitExceeded:
            await send_response(body_too_large(scope["path"]), send)


def _declared_length(scope: Mapping[str, Any]) -> int:
    """Return the Content-Length in bytes, 0 if there is none."""
    found = dict(scope["headers"]).get(b"content-length", b"")
    return int(found) if found.isdigit() else 0


async def send_response(response: HttpResponse, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
