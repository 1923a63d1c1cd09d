"""ASGI middleware in front of the complete application, for any server. Touches scopes and messages only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send
from ifeportal.web.errors import body_too_large


class IgnoreRootPath:
    """Serve every request at the root of its host.

    daphne reads `root_path` from the request header Daphne-Root-Path, and Django prefixes every link and redirect with
    it. A client could therefore choose their target, even another host.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if "root_path" in scope:
            scope = {**scope, "root_path": ""}
        await self._application(scope, receive, send)


class BodyLimitExceeded(Exception):
    """The request body is larger than BODY_LIMIT."""


class BodyLimit:
    """Refuse a request body above BODY_LIMIT before the application stores it.

    Under daphne, `daphne_request` refuses it earlier. Other servers pass a body on as it arrives.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
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
    value = dict(scope["headers"]).get(b"content-length", b"")
    return int(value) if value.isdigit() else 0


async def send_response(response: HttpResponse, send: Send) -> None:
    """Send a complete Django response over ASGI."""
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
