"""Probes of the network: routes, names, connections. Decides nothing.

Only `accepts_connection` and a name look-up send anything. Linux: routes are read from /proc/net.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

Address = tuple[int, str, int]  # family, numeric host, port
_ROUTES: Final = (
    # file, columns of the destination, column of the interface; the other columns count uses and change all the time
    (Path("/proc/net/route"), (0, 1, 2, 7), 0),
    (Path("/proc/net/ipv6_route"), (0, 1, 4, 9), 9),
)
_LINK_LOCAL: Final = ("fe80", "ff00")  # every enabled interface has these, even without an external route


def has_route(addresses: Sequence[Address]) -> bool:
    """Return whether the kernel has a route to one of the addresses. Connecting a datagram socket sends nothing."""
    for family, host, port in addresses:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return True
    return False


def external_routes() -> frozenset[tuple[str, ...]]:
    """Return the routes of external interfaces."""
    routes: set[tuple[str, ...]] = set()
    for path, columns, interface in _ROUTES:
        with contextlib.suppress(OSError):
            for row in (line.split() for line in path.read_text().splitlines()):
                if len(row) > max(columns) and row[interface] not in ("lo", "Iface") and row[0][:4] not in _LINK_LOCAL:
                    routes.add(tuple(row[column] for column in columns))
    return frozenset(routes)


def accepts_connection(addresses: Sequence[Address], seconds: float) -> bool:
    """Return whether an address accepts a connection in time; tries the first one with a route of each family."""
    tried: set[int] = set()
    for address in addresses:
        family, host, port = address
        if family in tried or not has_route([address]):
            continue
        tried.add(family)
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=seconds):
            return True
    return False


class Resolver:
    """Resolves one name, in a daemon thread, because name resolution may hang for minutes."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.literal = _literal(host, port)
        self._pending: _Query | None = None

    def resolve(self, seconds: float) -> list[Address] | None:
        """Return the addresses; empty if there are none, None without an answer in time. For one thread at a time."""
        if self.literal:
            return self.literal
        query = self._pending or _Query(self._host, self._port)
        answered = query.done.wait(seconds)
        self._pending = None if answered else query
        return query.addresses if answered else None


class _Query:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.addresses: list[Address] = []
        self.done = threading.Event()
        threading.Thread(target=self._run, name="name look-up", daemon=True).start()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError, UnicodeError):
                rows = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self.addresses = [(family, str(address[0]), self._port) for family, _, _, _, address in rows]
        finally:
            self.done.set()


def _literal(host: str, port: int) -> list[Address]:
    """Return the address if `host` is an IP address; otherwise nothing."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, host, port)]
