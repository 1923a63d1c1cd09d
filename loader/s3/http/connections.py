"""Connection pool of one store: TLS roots, proxy, and requests sent in one piece. Opens sockets."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from loader.s3.http.proxies import Proxy

_PIECE: Final = 262_144  # bytes; the rest of a streamed body is sent block by block
_SEND_TIMEOUT: Final = 20.0  # seconds a block of a streamed body may take; urllib3 would use the connect timeout


class _SendInOnePiece:
    """Sends the headers and the body, or the first block of a streamed body, in one piece.

    If a connection breaks between headers and body, SeaweedFS stores an empty object.
    """

    sock: Any
    connect: Any
    _pending: bytearray | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        pieces = self._pending = bytearray()
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # of the connection it is mixed into
        finally:
            rest, self._pending = self._pending, None
        if rest is not None:
            self.send(bytes(pieces))

    def send(self, data: Any) -> None:
        if self._pending is None:
            super().send(data)  # type: ignore[misc]  # likewise
            return
        self._pending += data
        if len(self._pending) >= _PIECE:
            piece, self._pending = self._pending, None
            if self.sock is None:
                self.connect()
            self.sock.settimeout(_SEND_TIMEOUT)
            super().send(piece)  # type: ignore[misc]  # likewise


class _HttpConnection(_SendInOnePiece, HTTPConnection):
    pass


class _HttpsConnection(_SendInOnePiece, HTTPSConnection):
    pass


def connection_pool(base: str, connections: int, proxy: Proxy | None = None) -> urllib3.HTTPConnectionPool:
    """Return a pool of keep-alive connections to the endpoint `base`, through the proxy if one is given."""
    parts = urlsplit(base)
    options: dict[str, Any] = {"maxsize": connections}
    if parts.scheme == "https":
        options["ca_certs"] = os.environ.get("AWS_CA_BUNDLE") or None
    if proxy and parts.hostname:
        manager = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
        return _with_own_connections(manager.connection_from_host(parts.hostname, parts.port, parts.scheme))
    return _with_own_connections(urllib3.connection_from_url(base, **options))


def _with_own_connections(pool: urllib3.HTTPConnectionPool) -> urllib3.HTTPConnectionPool:
    pool.ConnectionCls = _HttpsConnection if pool.scheme == "https" else _HttpConnection
    return pool
