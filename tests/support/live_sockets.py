"""A client of the live socket for tests that calls the complete ASGI application in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import transaction
from django.test import Client

from ifeportal.asgi import application
from ifeportal.live.connections import in_thread
from ifeportal.live.feed import FeedChange, publish
from ifeportal.models import Airline, User

ORIGIN = "http://localhost"
HOST = (b"host", b"localhost")
PATIENCE = 60.0  # seconds; long enough for a busy machine


class LiveSocket:
    """One open socket. `read` returns the next message, or {"closed": code}."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator

    async def say(self, **message: Any) -> None:
        await self.communicator.send_to(text_data=json.dumps(message))

    async def say_raw(self, text: str) -> None:
        await self.communicator.send_to(text_data=text)

    async def watch(self, *, rev: int | None = None, acks: bool = False, **watch: Any) -> dict[str, Any]:
        """Send what to watch; return the response, skipping keep-alives."""
        await self.say(watch=watch, rev=rev, acks=acks)
        while True:
            message = await self.read()
            if message.keys() != {"rev"}:
                return message

    async def read(self) -> dict[str, Any]:
        message = await self.communicator.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            return {"closed": message["code"]}
        answer: dict[str, Any] = json.loads(message["text"])
        return answer

    async def changes(self) -> list[dict[str, Any]]:
        """Return the changes of the next message that has any."""
        while True:
            message = await self.read()
            assert "error" not in message, message
            assert "closed" not in message, message
            if message.get("changes"):
                return list(message["changes"])

    async def is_quiet(self, seconds: float) -> bool:
        return bool(await self.communicator.receive_nothing(seconds, 0.05))


@asynccontextmanager
async def open_socket(
    user: User | None, *, origin: str | None = ORIGIN, cookie: str | None = None
) -> AsyncIterator[LiveSocket]:
    """Open a socket of a newly signed-in user (None: anonymous), or of the session in `cookie`."""
    if user is not None and cookie is None:
        cookie = await in_thread(sign_in, user)
    headers = [HOST, (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())] if cookie else [HOST]
    if origin:
        headers.append((b"origin", origin.encode()))
    communicator = WebsocketCommunicator(application, "/ws/live/", headers=headers)
    accepted, _ = await communicator.connect(PATIENCE)
    assert accepted, "refused before it was accepted"
    try:
        yield LiveSocket(communicator)
    finally:
        await communicator.disconnect(timeout=PATIENCE)


def sign_in(user: User) -> str:
    """Return the key of a new session of the user."""
    client = Client()
    client.force_login(user)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def publish_now(airline: Airline | None, number: int, *, topic: str = "load", **fields: Any) -> int:
    """Publish one change in its own transaction; return its revision."""
    scope = {key: fields.pop(key) for key in ("tail", "campaign", "op", "min_role", "user_id") if key in fields}
    with transaction.atomic():
        rev = publish([FeedChange(topic, number, airline.pk if airline else None, **scope, state=fields)])
    assert rev is not None
    return rev


async def publish_now_async(airline: Airline | None, number: int, **fields: Any) -> int:
    """Call `publish_now` from a coroutine."""
    return await in_thread(publish_now, airline, number, **fields)
