"""An ASGI application for tests of the server: streams 64 MiB, and says how much of it was accepted.

`/stream` sends the bytes; `/progress` returns how many `send` has accepted and whether the client has left.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ifeportal.asgi as portal  # installs the server's classes
from ifeportal.web.asgi_types import Receive, Send

assert portal.application
TOTAL = 64 * 2**20
PART = b"x" * 65_536
accepted = 0
left = False


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one request."""
    if scope["path"] == "/stream":
        await _stream(receive, send)
    elif scope["path"] == "/progress":
        await _answer(send, json.dumps({"accepted": accepted, "left": left}).encode())
    else:
        await _answer(send, b"ready")


async def _stream(receive: Receive, send: Send) -> None:
    global accepted, left
    watching = asyncio.ensure_future(_wait_for_disconnect(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while accepted < TOTAL and not watching.done():
        await send({"type": "http.response.body", "body": PART, "more_body": True})
        accepted += len(PART)
        await asyncio.sleep(0)  # the event loop notices a disconnection
    left = watching.done()
    watching.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
