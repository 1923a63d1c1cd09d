"""ASGI middleware in front of the whole application, whichever server runs it. Touches scopes and messages only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class IgnoreRootPath:
    """Serve every request at the root of its host.

    daphne takes `root_path` from the request header Daphne-Root-Path. Django puts `root_path` in front of every link
    and redirect, so that a client could choose where they lead, even to another host.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass the connection on with an empty root path."""
        if "root_path" in scope:
            scope = {**scope, "root_path": ""}
        await self._application(scope, receive, send)
