"""An HTTP client for tests that calls the complete ASGI application in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from ifeportal.asgi import application
from ifeportal.live.connections import in_thread
from ifeportal.models import User
from tests.support.live_sockets import PATIENCE, sign_in


class AsgiExchange:
    """One request and the parts of its response."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.goes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""

    async def read_status(self) -> int:
        """Return the status of the response."""
        start = await asyncio.wait_for(self.came.get(), PATIENCE)
        assert start["type"] == "http.response.start"
        self.status = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return self.status

    async def part(self) -> str | None:
        """Return the next part of the body; None at its end."""
        said = await asyncio.wait_for(self.came.get(), PATIENCE)
        self.text += said["body"].decode()
        return said["body"].decode() if said.get("more_body") else None

    async def read_json(self) -> Any:
        """Return the complete body, parsed as JSON."""
        while await self.part() is not None:
            pass
        return json.loads(self.text)

    async def event(self) -> dict[str, str]:
        """Return the next event with data, by field."""
        while (part := await self.part()) is not None:
            fields = dict(line.split(": ", 1) for line in part.strip().splitlines() if not line.startswith(":"))
            if "data" in fields:
                return fields
        return {}

    async def disconnect(self) -> None:
        """Close the connection."""
        await self.goes.put({"type": "http.disconnect"})


@asynccontextmanager
async def open_exchange(
    path: str, user: User | None = None, *, headers: Mapping[str, str] | None = None, **query: Any
) -> AsyncIterator[AsgiExchange]:
    """Send a request as a newly signed-in user (None: anonymous). Waits at the end until the application has ended."""
    sent = {"host": "localhost", **(headers or {})}
    if user is not None:
        sent["cookie"] = f"{settings.SESSION_COOKIE_NAME}={await in_thread(sign_in, user)}"
    wire = AsgiExchange()
    await wire.goes.put({"type": "http.request", "body": b""})
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": urlencode(query, doseq=True).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    work = asyncio.create_task(application(scope, wire.goes.get, wire.came.put))
    try:
        yield wire
    finally:
        await wire.disconnect()
        await asyncio.wait_for(work, PATIENCE)
