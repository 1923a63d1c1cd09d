"""Connection pool of one store: TLS roots, proxy, and requests that are sent in one piece. Opens sockets."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class _SendInOnePiece:
    """Sends a request in one piece. Of one that ends between headers and body, SeaweedFS keeps an empty object."""

    _pending: bytearray | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        pieces = self._pending = bytearray()
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # of the connection it is mixed into
        finally:
            self._pending = None
        self.send(bytes(pieces))

    def send(self, data: Any) -> None:
        if self._pending is None:
            super().send(data)  # type: ignore[misc]  # likewise
        else:
            self._pending += data


class _HttpConnection(_SendInOnePiece, HTTPConnection):
    pass


class _HttpsConnection(_SendInOnePiece, HTTPSConnection):
    pass


def connection_pool(base: str, connections: int) -> urllib3.HTTPConnectionPool:
    """Return a pool of keep-alive connections to the endpoint `base`, through a proxy where the environment names
    one.
    """
    parts = urlsplit(base)
    options: dict[str, Any] = {"maxsize": connections}
    if parts.scheme == "https":
        options["ca_certs"] = os.environ.get("AWS_CA_BUNDLE") or None
        proxy = getproxies().get("https")
        if proxy and parts.hostname and not proxy_bypass(parts.hostname):
            manager = urllib3.ProxyManager(proxy, **options)
            return _with_own_connections(manager.connection_from_host(parts.hostname, parts.port, parts.scheme))
    return _with_own_connections(urllib3.connection_from_url(base, **options))


def _with_own_connections(pool: urllib3.HTTPConnectionPool) -> urllib3.HTTPConnectionPool:
    pool.ConnectionCls = _HttpsConnection if pool.scheme == "https" else _HttpConnection
    return pool
