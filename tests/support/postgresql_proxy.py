"""A proxy on the loopback interface in front of a PostgreSQL's own socket, which can be interrupted.

    with DatabaseProxy(url) as proxy:  # proxy.url is the DATABASE_URL for processes
        proxy.refuse()                 # resets connections, refuses new ones: the server is down
        proxy.block()                  # accepts connections and forwards nothing: the network is down
        proxy.block(greeted=True)      # the same, but only after the server's greeting: a session that hangs
        proxy.restore()
        assert proxy.blocked

Runs in a separate thread, without Django. Blocked data is not sent later: `restore` resets its connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

LOOPBACK: Final = "127.0.0.1"
READY: Final = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, idle: the server accepts a query
T = TypeVar("T")


class DatabaseProxy:
    """A proxy to interrupt. `blocked` counts the connections made while nothing was forwarded."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._folder = query.get("host", "")
        self._target = (parts.hostname or LOOPBACK, parts.port or 5432)
        self._login = f"{parts.scheme}://{parts.username or 'postgres'}:{parts.password or ''}"
        self._database = parts.path
        self._port = 0
        self._state = ""
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="database-proxy", daemon=True)
        self.blocked = 0

    @property
    def url(self) -> str:
        """Return the DATABASE_URL for clients of the proxy."""
        return f"{self._login}@{LOOPBACK}:{self._port}{self._database}"

    def refuse(self) -> None:
        """Reset all connections and refuse new ones."""
        self._run(self._close())

    def block(self, *, greeted: bool = False) -> None:
        """Forward nothing. `greeted`: forward until the server is ready for a query."""
        self._state = "greet" if greeted else "block"

    def restore(self) -> None:
        """Forward all new connections."""
        self._state = ""
        self._run(self._close())
        self._run(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.blocked += bool(self._state)
        try:
            if self._folder:
                server, back = await asyncio.open_unix_connection(f"{self._folder}/.s.PGSQL.5432")
            else:
                server, back = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(self._pump(reader, back), self._pump(server, writer))
            finally:
                back.transport.abort()
        except (OSError, EOFError):
            return
        finally:
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            while self._state == "block":
                await asyncio.sleep(0.02)
            sink.write(data)
            with suppress(ConnectionError):
                await sink.drain()
            if self._state == "greet" and READY in data:
                self._state = "block"
        raise EOFError
