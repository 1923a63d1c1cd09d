"""Names below `localhost` resolve to the loopback address (RFC 6761, 6.3), which the C library does not do everywhere.

Stores that require the bucket in the host name can then be run on this machine.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

Resolver = Callable[..., Any]


def resolving_localhost(resolve: Resolver) -> Resolver:
    """Return `socket.getaddrinfo` that also knows names below localhost."""

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if str(name).endswith(".localhost") else host, *args, **kwargs)

    return getaddrinfo


def resolve_localhost_names() -> None:
    """Let this process resolve names below localhost."""
    socket.getaddrinfo = resolving_localhost(socket.getaddrinfo)
