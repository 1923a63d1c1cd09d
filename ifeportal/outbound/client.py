"""Sends one request to a URL that a user named. Opens sockets, to public addresses only.

The host name is resolved here and the connection goes to the address that was checked, so a name that resolves to
another address afterwards (DNS rebinding) gains nothing. Redirects are followed up to a limit, each checked in the same
way. No proxy, cookie or credential is used. The setting OUTBOUND_ALLOW_PRIVATE permits private addresses.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import urllib3
from django.conf import settings
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from ifeportal.outbound.addresses import is_public
from ifeportal.outbound.errors import OutboundRefused
from ifeportal.outbound.urls import OutboundUrl
from loader.errors import Code, WorldError
from loader.s3.http.failures import connection_failure

CONNECT_TIMEOUT: Final = 5.0  # seconds for each address
READ_TIMEOUT: Final = 20.0  # seconds between two packets; the caller limits the total time and calls `abort`
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_USER_AGENT: Final = "ifeportal"


class OutboundRequest:
    """A GET of a URL. `open` may block: call it in a thread, and `abort` from any other."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        max_redirects: int = MAX_REDIRECTS,
        timeouts: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
    ) -> None:
        """Check the URL; send nothing. Raises OutboundRefused."""
        self._url = OutboundUrl.parse(url)
        self._headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        self._max_redirects, self._timeouts = max_redirects, timeouts
        self._pool: _CheckedPool | None = None
        self._is_aborted = False

    @property
    def host(self) -> str:
        """The host that the URL names."""
        return self._url.host

    def open(self) -> OutboundResponse:
        """Send the request and return the last response, its body unread. Raises OutboundRefused, WorldError."""
        url = self._url
        for _ in range(self._max_redirects + 1):
            response = self._send(url)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            url = url.redirected(location)
        raise OutboundRefused(f"{self._url.host} redirects more than {self._max_redirects} times.")

    def abort(self) -> None:
        """Make `open`, or a read of its response, raise in the thread that waits in it."""
        self._is_aborted = True
        if self._pool:
            self._pool.abort()

    def _send(self, url: OutboundUrl) -> OutboundResponse:
        connect, read = self._timeouts
        self._pool = pool = _CheckedPool(url.host, url.port)
        with translate_errors(url.host):
            response = pool.urlopen(
                "GET",
                url.target,
                headers=self._headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=connect, read=read),
                preload_content=False,
                decode_content=False,
            )
        if self._is_aborted:
            response.close()
            raise WorldError(Code.NETWORK, f"the request to {url.host} was aborted")
        return OutboundResponse(response, pool, url.host)


class OutboundResponse:
    """An open response. Reads raise WorldError: SHORT_BODY if the body ends early, TIMEOUT, NETWORK."""

    def __init__(self, response: urllib3.BaseHTTPResponse, pool: _CheckedPool, host: str) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.host = host
        self._response, self._pool = response, pool

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes as they arrive; empty at the end."""
        with translate_errors(self.host):
            return self._response.read1(limit)

    def close(self) -> None:
        self._response.close()
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _CheckedConnection(HTTPSConnection):
    """A connection to a public address."""

    handle: socket.socket | None = None  # a duplicate of the socket, for `abort`: TLS detaches the socket it wraps

    def _new_conn(self) -> socket.socket:
        last: OSError | None = None
        try:
            addresses = resolve(self.host, self.port or 443)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        for address in addresses:
            try:
                opened = socket.create_connection((address, self.port or 443), _seconds(self.timeout))
            except OSError as error:
                last = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handle = opened.dup()
            return opened
        if isinstance(last, TimeoutError):
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from last
        raise NewConnectionError(self, f"Connection to {self.host} failed.") from last

    def close(self) -> None:
        super().close()
        if self.handle:
            self.handle.close()


class _CheckedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _CheckedConnection
    _opened: _CheckedConnection | None = None

    def _new_conn(self) -> Any:
        self._opened = connection = super()._new_conn()  # type: ignore[assignment]  # of ConnectionCls
        return connection

    def abort(self) -> None:
        handle = self._opened.handle if self._opened else None
        if handle:
            with contextlib.suppress(OSError):  # closed, or no longer connected
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._opened:
            self._opened.close()
        super().close()


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raises OutboundRefused if one of them is not public, socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not settings.OUTBOUND_ALLOW_PRIVATE and not all(map(is_public, addresses)):
        raise OutboundRefused(f"{host} has an address that is not on the public internet.")
    return addresses


@contextmanager
def translate_errors(host: str) -> Iterator[None]:
    """Turn errors of urllib3 and http.client into WorldError."""
    try:
        yield
    except OutboundRefused:
        raise
    except HTTPError as error:
        code, reason = connection_failure(error, None, host)
        # Not chained: http.client quotes malformed lines of the response.
        raise WorldError(code, reason) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WorldError(Code.NETWORK, f"{host} sent an invalid response ({type(error).__name__})") from None


def _seconds(timeout: Any) -> float | None:
    return timeout if isinstance(timeout, int | float) else CONNECT_TIMEOUT
