"""Forwards TCP connections of one port to another host: `python -m ifeportal.embedded.port_forwarder 8333 store:8333`.

For docker-compose.yml: the object store is alone in a network, with ports that ask for no key, and clients reach only
the port that is forwarded. Reads no data, and keeps at most two buffers of a connection in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Final

BUFFER: Final = 65_536  # bytes
MAX_CONNECTIONS: Final = 500


class Forwarder:
    """Connects each client to `host`:`port`. A client beyond MAX_CONNECTIONS is disconnected."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open = 0

    async def serve(self, address: str, port: int) -> None:
        """Accept clients until the task is cancelled."""
        server = await asyncio.start_server(self._forward, address, port, limit=BUFFER)
        async with server:
            await server.serve_forever()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*self._target, limit=BUFFER)
            with contextlib.closing(inner_writer):
                await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        except OSError as error:
            print(f"connection to {self._target[0]}:{self._target[1]}: {error}", file=sys.stderr)  # noqa: T201
        finally:
            writer.close()
            self._open -= 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, at the pace of the reader on the other side, and pass the end on. Raises OSError."""
    while data := await reader.read(BUFFER):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def main() -> None:
    """Run until SIGTERM."""
    port, target = sys.argv[1:]
    host, _, its_port = target.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Forwarder(host, int(its_port)).serve("0.0.0.0", int(port)))  # noqa: S104  # in its container


if __name__ == "__main__":
    main()
