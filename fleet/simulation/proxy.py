"""HTTP/1.1 proxy that simulates the link between an aircraft and the store: slow, interrupted or faulty.

It listens on the loopback interface, between a loader and any S3 server, and runs in its own thread. No Django; touches
sockets only.

    with FaultProxy(seaweed.endpoint, bandwidth=500_000, latency=0.2) as link:  # bytes a second, seconds
        bucket = S3Bucket("ife-media", endpoint=link.endpoint, ...)  # or AWS_ENDPOINT_URL_S3=link.endpoint
        rule = link.add(Rule(FlipByte(at=1_000), key="*/movie-001.tgz"))  # all faults: fleet.simulation.faults
        link.offline()  # connections are reset; offline(silent=True): no more responses
        link.online()
        assert rule.hits == 1
        assert [seen.range for seen in link.requests("GET", "*/movie-001.tgz")] == ["", "bytes=4096-"]

`bandwidth`, `latency` and `per_connection` may be set at any time (`fleet.simulation.link`). Signatures stay valid: the
client signs the proxy's own address, the Host header is forwarded unchanged, and stores check that header (SeaweedFS
does; moto checks nothing). Each request to the store is a new connection. A request body needs a Content-Length, which
`loader.s3.client` always sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from fleet.simulation.faults import Chunks, Fault, HangUp, Head, Request, Rule, pieces
from fleet.simulation.http1 import format_head, phrase_of, read_head, read_response
from fleet.simulation.link import BLOCK_SIZE, Link

LOOPBACK: Final = "127.0.0.1"
_KEPT: Final = 4_096  # bytes of a request body that are logged
_BROKEN: Final = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)  # EOFError: IncompleteReadError is one
T = TypeVar("T")


@dataclass
class RecordedRequest:
    """One request and its response. `path` is `bucket/key`, decoded; `method` is "LIST" for a listing.

    `received` and `sent` are the bytes of the request and response bodies; `body` is the start of the request body.
    `status` is None if there was no response. `range` and the conditions are the header values, or empty.
    """

    method: str
    path: str
    query: str
    range: str
    if_match: str
    if_none_match: str
    body: bytes = b""
    received: int = 0
    status: int | None = None
    sent: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class _ProxiedRequest:
    request: Request
    record: RecordedRequest


class FaultProxy(Link):
    """The proxy; see the module. `target` is the store's address, e.g. http://127.0.0.1:8333."""

    def __init__(self, target: str, *, bandwidth: float | None = None, latency: float = 0.0, port: int = 0) -> None:
        super().__init__(bandwidth, latency)
        parts = urlsplit(target)
        self.target = (parts.hostname or LOOPBACK, parts.port or 80)
        self.log: list[RecordedRequest] = []
        self.rules: list[Rule] = []
        self._port = port
        self._is_refusing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """The address for the loader."""
        return f"http://{LOOPBACK}:{self._port}"

    def add(self, rule: Rule) -> Rule:
        """Apply the rule from now on, and return it. All matching rules take effect, in order."""
        self.rules.append(rule)
        return rule

    def requests(self, method: str = "*", path: str = "*") -> list[RecordedRequest]:
        """Return the requests so far, filtered by method and a shell pattern for `bucket/key`."""
        return [e for e in list(self.log) if method in ("*", e.method) and fnmatchcase(e.path, path)]

    def offline(self, *, silent: bool = False) -> None:
        """Reset all connections and every new one; `silent`: keep them open, but pass nothing."""
        self.is_silent, self._is_refusing = silent, not silent
        if not silent:
            self._run(self._hang_up())

    def online(self) -> None:
        """Pass everything again."""
        self.is_silent = self._is_refusing = False

    def start(self) -> None:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, LOOPBACK, self._port, limit=BLOCK_SIZE * 4))
        self._port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server:
            self._loop.call_soon_threadsafe(self._server.close)
            self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _hang_up(self) -> None:
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of one connection until either side closes it."""
        reset = True
        try:
            while not self._is_refusing and await self._one(reader, writer):
                pass
            reset = self._is_refusing
        except HangUp as hang_up:
            reset = hang_up.reset
        except _BROKEN:
            reset = False
        finally:
            if reset:
                _reset(writer)
            await _closed(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. Return False at the end of the connection."""
        request = await _read_request(reader, writer)
        if request is None:
            return False
        exchange = request.record
        self.log.append(exchange)
        await self.delay()
        await self.carry(exchange.received)
        rules = [rule for rule in list(self.rules) if rule.matches(exchange.method, exchange.path)]
        exchange.faults = [type(rule.fault).__name__ for rule in rules]
        faults = [rule.fault.for_request(request.request) for rule in rules]
        for fault in faults:
            response = await fault.answer()
            if response:
                head, body = response
                await self._reply(writer, exchange, head, pieces(body))
                return True
        await self._forward(request, writer, faults)
        return True

    async def _forward(self, proxied: _ProxiedRequest, writer: asyncio.StreamWriter, faults: list[Fault]) -> None:
        request = proxied.request
        reader, store = await asyncio.open_connection(*self.target, limit=BLOCK_SIZE * 4)
        try:
            forwarded = [(n, v) for n, v in request.headers if n.lower() not in ("connection", "expect")]
            line = f"{request.method} {request.target} HTTP/1.1".encode("latin-1")
            store.write(format_head(line, [*forwarded, ("Connection", "close")]) + request.body)
            await store.drain()
            head, chunks = await read_response(reader, request.method)
            for fault in faults:
                fault.head(head)
                chunks = fault.body(chunks, head)
            await self._reply(writer, proxied.record, head, chunks)
        finally:
            await _closed(store)

    async def _reply(self, writer: asyncio.StreamWriter, exchange: RecordedRequest, head: Head, chunks: Chunks) -> None:
        await self.delay()
        exchange.status = head.status
        headers = list(head.headers.items())
        if head.length is None:
            headers.append(("Transfer-Encoding", "chunked"))
        elif head.status not in (204, 304):
            headers.append(("Content-Length", str(head.length)))
        line = f"HTTP/1.1 {head.status} {phrase_of(head.status)}".encode()
        writer.write(format_head(line, headers))
        async for chunk in chunks:
            # The response to a HEAD has no body: the client would take it for the next response of the connection.
            while chunk and exchange.method != "HEAD":
                part = chunk[: self.block_size()]
                await self._send(writer, exchange, part, framed=head.length is None)
                chunk = chunk[len(part) :]
        if head.length is None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _send(
        self, writer: asyncio.StreamWriter, exchange: RecordedRequest, part: bytes, *, framed: bool
    ) -> None:
        await self.carry(len(part))
        await self.carry_alone(writer, len(part))
        await self.wait_while_silent()
        writer.write(b"%x\r\n%s\r\n" % (len(part), part) if framed else part)
        exchange.sent += len(part)
        await writer.drain()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _ProxiedRequest | None:
    try:
        line, headers = await read_head(reader)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    known = {name.lower(): value for name, value in headers}
    method, target = line.decode("latin-1").split(" ")[:2]
    if "expect" in known:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(known.get("content-length", "0")))
    path, _, query = target.partition("?")
    exchange = RecordedRequest(
        "LIST" if method == "GET" and "list-type=" in query else method,
        unquote(path).strip("/"),
        query,
        known.get("range", ""),
        known.get("if-match", ""),
        known.get("if-none-match", ""),
        body[:_KEPT],
        len(body),
    )
    return _ProxiedRequest(Request(method, target, headers, body), exchange)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close the connection and retrieve its error, which asyncio would otherwise log."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Abort the connection with a TCP reset (SO_LINGER 0), discarding unsent bytes."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
