"""Many sockets that do not read: each needs little memory, and each receives the newest state in the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from django.conf import LazySettings

from ifeportal.live.connections import in_thread, open_sockets
from ifeportal.live.reader import FeedReader
from ifeportal.live.sockets.outbox import ACK_LIMIT
from tests.conftest import Cast
from tests.support.live_sockets import LiveSocket, open_socket, publish_now_async, sign_in
from tests.support.profiles import scaled

pytestmark = pytest.mark.django_db(transaction=True)

SOCKETS, AT_ONCE, VALUES = scaled(1_000, quick=200), 50, 20


@pytest.mark.slow("opens hundreds of sockets")
async def test_many_sockets_that_do_not_read_all_get_the_newest_value(
    cast: Cast, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("outbox.ACK_TIMEOUT", "consumer.PING", "consumer.REAUTHORISE"):  # however slow the machine
        monkeypatch.setattr(f"ifeportal.live.sockets.{name}", 3_600.0)
    settings.LIVE_SOCKETS_PER_USER = SOCKETS
    cookie = await in_thread(sign_in, cast.alice)
    async with AsyncExitStack() as stack:
        sockets: list[LiveSocket] = []
        while len(sockets) < SOCKETS:
            some = [open_socket(None, cookie=cookie) for _ in range(AT_ONCE)]
            opened = [await stack.enter_async_context(each) for each in some]
            await asyncio.gather(*(socket.watch(airline="ACME", rev=0, acks=True) for socket in opened))
            sockets += opened
        assert len(FeedReader.current()) == sum(open_sockets.values()) == SOCKETS
        for percent in range(VALUES):
            await publish_now_async(cast.acme, 1, percent=percent)
        for socket in sockets:
            for _ in range(ACK_LIMIT + 1):  # the messages already sent, then only the newest: nothing was queued
                message = await socket.read()
                (change,) = message["changes"]
                await socket.say(ack=message["rev"])
                if change["state"] == {"percent": VALUES - 1}:
                    break
            assert change["state"] == {"percent": VALUES - 1}
    assert not open_sockets
