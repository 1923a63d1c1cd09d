"""The forwarder of one port: bytes in both directions, the end of either side, and a host that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ifeportal.embedded import port_forwarder
from ifeportal.embedded.port_forwarder import Forwarder
from ifeportal.embedded.processes import LOOPBACK, free_port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def forwarder(target: int) -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(Forwarder(LOOPBACK, target).serve(LOOPBACK, port))
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except ConnectionError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            break
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_data_of_a_client_arrives_and_the_response_returns() -> None:
    body = bytes(range(256)) * 8_192
    async with (
        await asyncio.start_server(echo, LOOPBACK, 0) as server,
        forwarder(server.sockets[0].getsockname()[1]) as port,
    ):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        sending = asyncio.create_task(send(writer, body))
        assert await reader.readexactly(len(body)) == body
        await sending
        writer.close()
        assert await reader.read() == b""


async def send(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(body)
    await writer.drain()


async def test_a_host_that_is_away_ends_the_connection() -> None:
    async with forwarder(free_port()) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_beyond_the_limit_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        await asyncio.start_server(echo, LOOPBACK, 0) as server,
        forwarder(server.sockets[0].getsockname()[1]) as port,
    ):
        first_reader, first_writer = await asyncio.open_connection(LOOPBACK, port)
        first_writer.write(b"here")
        assert await first_reader.readexactly(4) == b"here"
        monkeypatch.setattr(port_forwarder, "MAX_CONNECTIONS", 1)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await reader.read() == b""
        writer.close()
        first_writer.close()
