"""daphne with bounds: deadlines for requests, connections per address, back-pressure, small socket messages.

The command `daphne` has no options for these, so `ifeportal.asgi` installs them when daphne imports it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from daphne import cli, http_protocol, server, ws_protocol
from django.conf import settings
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web import http

from ifeportal.web.server.daphne_request import PortalRequest

HEAD_TIMEOUT: Final = 20.0  # seconds for a complete request line with all headers
BODY_TIMEOUT: Final = 60.0  # seconds for a complete body, which has at most 2 MiB
WRITE_TIMEOUT: Final = 30.0  # seconds in which a client must take what is in the send buffer
SOCKET_MESSAGE_LIMIT: Final = 16 * 1024  # bytes received; the largest names an airline, a tail, a campaign and topics
MAX_CONNECTIONS: Final = 10_000
FILES_SHARE: Final = 0.75  # of the process's file descriptors that clients may take; the rest is for the database
LOG_INTERVAL: Final = 60.0  # seconds between two lines about refused connections
REQUEST_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEADERS_TOO_LARGE: Final = REQUEST_TIMEOUT.replace(b"408 Request Timeout", b"431 Request Header Fields Too Large")
logger = logging.getLogger(__name__)


class PortalChannel(http.HTTPChannel):
    """One connection: with a deadline for each request that arrives, and a way to wait for a slow reader.

    Twisted's own timeout starts again with each byte, so one byte a minute would keep a connection open.
    """

    _deadline: IDelayedCall | None = None
    _resumed: asyncio.Future[None] | None = None  # done once the send buffer is empty again; None: it is not full

    def connectionMade(self) -> None:
        super().connectionMade()
        self._start_deadline(HEAD_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None and not self._handlingRequest:  # the next request of this connection begins
            self._start_deadline(HEAD_TIMEOUT)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self._start_deadline(BODY_TIMEOUT)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        self.stop_deadline()
        super().allContentReceived()

    def pauseProducing(self) -> None:
        """Note that the send buffer is full."""
        self._resumed = asyncio.get_running_loop().create_future()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._resume()
        super().resumeProducing()

    def connectionLost(self, reason: Any) -> None:
        self.stop_deadline()
        self._resume()
        super().connectionLost(reason)

    async def wait_until_writable(self) -> None:
        """Wait while the send buffer is full. Close the connection of a client that does not read it in time."""
        if self._resumed is None:
            return
        done, _ = await asyncio.wait({self._resumed}, timeout=WRITE_TIMEOUT)
        if not done:
            self.transport.abortConnection()

    def stop_deadline(self) -> None:
        """Set no deadline until the next request begins."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _start_deadline(self, seconds: float) -> None:
        self.stop_deadline()
        self._deadline = self.callLater(seconds, self._end_late_request)

    def _end_late_request(self) -> None:
        self._deadline = None
        self._refuse(REQUEST_TIMEOUT)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header or request line of more than 16 KiB."""
        self._refuse(HEADERS_TOO_LARGE)

    def _refuse(self, response: bytes) -> None:
        self.transport.write(response)
        self.timeoutConnection()

    def _resume(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        self._resumed = None


class PortalHTTPFactory(http_protocol.HTTPFactory):
    """daphne's factory, with our channel. HTTP/2 is left to the proxy."""

    protocol = PortalChannel

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]


class BoundedConnections(WrappingFactory):
    """Refuses a connection when its address, or the process, has too many. `per_address` None: no such limit."""

    def __init__(self, factory: Any, per_address: int | None, in_all: int) -> None:
        super().__init__(factory)
        self._per_address = per_address
        self._in_all = in_all
        self._open: Counter[str] = Counter()
        self._logged_at = -LOG_INTERVAL

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a new connection; None to refuse it."""
        client = client_network(addr)
        if self._open.total() >= self._in_all or (
            self._per_address is not None and client and self._open[client] >= self._per_address
        ):
            self._log_refusal(client)
            return None
        return super().buildProtocol(addr)

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        super().registerProtocol(p)
        self._open[client_network(p.getPeer())] += 1

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)
        client = client_network(p.getPeer())
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    def _log_refusal(self, client: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            logger.warning(
                "refused a connection from %s: it has %d, all clients have %d",
                client or "a local socket",
                self._open[client],
                self._open.total(),
            )


class PortalSocket(ws_protocol.WebSocketProtocol):
    """A socket that limits what it receives. autobahn would apply the same limit to what is sent."""

    maxMessagePayloadSize: int  # bytes; 0 is no limit

    def sendMessage(self, *arguments: Any, **options: Any) -> None:
        limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            super().sendMessage(*arguments, **options)
        finally:
            self.maxMessagePayloadSize = limit


class PortalServer(server.Server):
    """daphne's server, in which `send` of an ASGI application waits for a client that reads slowly.

    Without that, a streamed file would fill the memory when its client does not read it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        sizes = dict.fromkeys(("websocket_max_message_size", "websocket_max_frame_size"), SOCKET_MESSAGE_LIMIT)
        super().__init__(*arguments, **options | sizes)

    async def handle_reply(self, protocol: Any, message: Mapping[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        channel = getattr(protocol, "channel", None)  # None after the last part, and for sockets
        if isinstance(channel, PortalChannel):
            await channel.wait_until_writable()


def client_network(address: Any) -> str:
    """Return the IP address of a client, or its /64 network for IPv6; "" for a Unix socket."""
    host = str(getattr(address, "host", "") or "")
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors as far as needed and allowed: its usual value is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = int(MAX_CONNECTIONS / FILES_SHARE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft not in (resource.RLIM_INFINITY, hard) and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def max_connections() -> int:
    """Return how many connections the process may have at a time, so that descriptors are left for other files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, int(files * FILES_SHARE))


def _http_factory(its_server: Any) -> BoundedConnections:
    # Behind a proxy every connection comes from the proxy, which must limit its clients itself.
    per_address = None if settings.BEHIND_PROXY else settings.CONNECTIONS_PER_ADDRESS
    raise_file_limit()
    return BoundedConnections(PortalHTTPFactory(its_server), per_address, max_connections())


def install_server() -> None:
    """Make daphne use our classes for its server and for every new connection."""
    http_protocol.WebRequest = PortalRequest
    server.HTTPFactory = _http_factory
    ws_protocol.WebSocketFactory.protocol = PortalSocket
    cli.CommandLineInterface.server_class = PortalServer
