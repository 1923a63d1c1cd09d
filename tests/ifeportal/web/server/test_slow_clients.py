"""Slow and many connections: deadlines, connections per address, and readers that do not read. Uses a real daphne."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from ifeportal.live.feed import FeedChange, publish
from ifeportal.web.server import daphne_server
from ifeportal.web.server.daphne_server import BoundedConnections, client_network, max_connections
from tests.conftest import Cast
from tests.support.live_sockets import sign_in
from tests.support.portal_system import PATIENCE, wait_for
from tests.support.streaming_app import TOTAL
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

MIB = 2**20
SHORT = "import ifeportal.asgi; from ifeportal.web.server import daphne_server as limits; limits.{} = {}"
HEAD = b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
Server = Callable[..., WebServer]


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(WebServer(tmp_path, **options))


def trickle(connection: socket.socket, text: bytes) -> bytes:
    """Send a byte every 50 ms until the server closes the connection; return its response."""
    connection.setblocking(False)
    received, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(BlockingIOError, ConnectionError):
            connection.send(text[:1])
            text = text[1:] or b"x"
        with suppress(BlockingIOError):
            try:
                part = connection.recv(65_536)
            except ConnectionResetError:
                return received
            if not part:
                return received
            received += part
        time.sleep(0.05)
    raise AssertionError("the connection is still open")


SLOW = {
    "first line": (b"", b"G" * 10_000),
    "headers": (HEAD, b"X-Name: " + b"y" * 10_000),
    "second request": (WHOLE, WHOLE[:-2]),
    "body": (HEAD + b"\r\n", b"a=b&" * 10_000),
    "chunked body": (HEAD.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked") + b"\r\n", b"1\r\nx\r\n"),
}


def test_a_request_that_arrives_byte_by_byte_ends_at_its_deadline(server: Server) -> None:
    web = server(before=SHORT.format("HEAD_TIMEOUT = limits.BODY_TIMEOUT", 0.7))

    def response_to(before: bytes, slow: bytes) -> bytes:
        with web.connect() as connection:
            connection.sendall(before)
            return trickle(connection, slow)

    with ThreadPoolExecutor(len(SLOW)) as pool:
        answers = dict(zip(SLOW, pool.map(lambda case: response_to(*case), SLOW.values()), strict=True))
    assert not [name for name, received in answers.items() if b"HTTP/1.1 408 Request Timeout\r\n" not in received]
    assert answers["second request"].startswith(b"HTTP/1.1 200 OK")
    assert web.ask("GET", "/healthz").status == 200


def test_an_address_has_so_many_connections(server: Server) -> None:
    web = server(CONNECTIONS_PER_ADDRESS="3")
    with ExitStack() as stack:
        first, keep_alive, _ = (stack.enter_context(web.connect()) for _ in range(3))
        with web.connect() as refused, suppress(ConnectionError):
            assert refused.recv(1) == b""
        wait_for("a line in the log", lambda: "refused a connection from 127.0.0.1" in web.log)
        first.close()
        wait_for("a free place", lambda: is_served(web))
        keep_alive.sendall(WHOLE)
        assert keep_alive.recv(100).startswith(b"HTTP/1.1 200")


def test_a_live_socket_is_one_of_the_connections_of_its_address(server: Server) -> None:
    web = server(CONNECTIONS_PER_ADDRESS="1")
    live = connect(f"ws{web.address[4:]}/ws/live/", origin=Origin(web.address))
    with live, suppress(ConnectionClosed):  # without a session it is closed, and its place is free
        while live.recv(timeout=PATIENCE):
            pass
    wait_for("a free place", lambda: is_served(web))


def is_served(web: WebServer) -> bool:
    try:
        return web.ask("GET", "/healthz").status == 200
    except (ConnectionError, OSError):
        return False


def test_behind_a_proxy_its_own_address_has_no_limit(server: Server) -> None:
    web = server(CONNECTIONS_PER_ADDRESS="1", BEHIND_PROXY="1")
    with web.connect(), web.connect():
        assert web.ask("GET", "/healthz").status == 200


def test_connections_leave_file_descriptors_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert max_connections() == 192
    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: changed.append(limits))
    daphne_server.raise_file_limit()
    assert changed == [(4096, 4096)], "as far as the process may raise it"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    daphne_server.raise_file_limit()
    assert len(changed) == 1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    assert max_connections() == daphne_server.MAX_CONNECTIONS


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (IPv4Address("TCP", "192.0.2.7", 5000), "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8:1:2:3::4", 5000), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "fe80::1%eth0", 5000), "fe80::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 5000), "192.0.2.7"),
        (UNIXAddress("/run/portal.sock"), ""),
        (None, ""),
    ],
)
def test_connections_are_counted_by_address_and_by_network_of_ipv6(address: Any, network: str) -> None:
    assert client_network(address) == network


def test_all_connections_together_have_a_limit_and_one_that_ends_frees_a_place() -> None:
    class Inner:
        def buildProtocol(self, addr: Any) -> Any:
            return self

        def connectionLost(self, reason: Any) -> None:
            pass

        def makeConnection(self, transport: Any) -> None:
            pass

    class Transport:
        def __init__(self, address: Any) -> None:
            self.address = address

        def getPeer(self) -> Any:
            return self.address

    factory = BoundedConnections(Inner(), per_address=None, in_all=2)
    addresses = [IPv4Address("TCP", f"192.0.2.{number}", 5000) for number in range(3)]
    opened = []
    for address in addresses[:2]:
        protocol = factory.buildProtocol(address)
        protocol.makeConnection(Transport(address))
        opened.append(protocol)
    assert factory.buildProtocol(addresses[2]) is None
    opened[0].connectionLost(None)
    assert factory.buildProtocol(addresses[2]) is not None


def test_a_stream_that_is_not_read_takes_no_memory_and_ends(server: Server) -> None:
    short = SHORT.format("WRITE_TIMEOUT", 1.5)
    web = server(before=short, application="tests.support.streaming_app:application", popen=subprocess.Popen)
    before = web.memory("VmHWM")
    with web.connect() as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        wait_for("the end of the stream", lambda: progress(web)["left"])
        assert 0 < progress(web)["accepted"] < TOTAL // 4, "only what the kernel's buffers take"
    assert web.memory("VmHWM") - before < 8 * MIB


def test_a_stream_that_is_read_is_complete(server: Server) -> None:
    streaming = "tests.support.streaming_app:application"
    web = server(application=streaming, before="import ifeportal.asgi", popen=subprocess.Popen)
    before = web.memory("VmHWM")
    assert len(web.ask("GET", "/stream").body) == TOTAL
    assert progress(web) == {"accepted": TOTAL, "left": False}
    assert web.memory("VmHWM") - before < 8 * MIB


def progress(web: WebServer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(web.ask("GET", "/progress").body)
    return found


LARGE_HEADS = {
    "count": (b"".join(b"X-%d: y\r\n" % number for number in range(600)), b"400"),
    "one": (b"X-Long: " + b"y" * 20_000 + b"\r\n", b"431"),
    "cookies": (b"Cookie: " + b"a=b; " * 4_000 + b"\r\n", b"431"),
    "in all": (b"X-Name: " + b"y" * 9_000 + b"\r\nX-Other: " + b"y" * 9_000 + b"\r\n", b"400"),
}


def test_too_many_or_too_long_headers_are_refused(server: Server) -> None:
    web = server()
    for name, (head, status) in LARGE_HEADS.items():
        with web.connect() as connection:
            with suppress(ConnectionError):
                connection.sendall(b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n")
            assert connection.recv(100).split()[1] == status, name
    assert "Traceback" not in web.log


SMUGGLED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 50\r\n",
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "unknown encoding": b"Transfer-Encoding: gzip, chunked\r\n",
    "length that is no number": b"Content-Length: +5\r\n",
}


def test_a_request_with_an_ambiguous_end_is_refused_and_the_rest_is_ignored(server: Server) -> None:
    web = server()
    for name, lines in SMUGGLED.items():
        with web.connect() as connection:
            connection.sendall(b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"\r\n0\r\n\r\n" + WHOLE)
            received = b""
            with suppress(ConnectionError):
                while part := connection.recv(65_536):
                    received += part
        assert received.startswith(b"HTTP/1.1 400"), name
        assert b"200 OK" not in received, name


def test_a_socket_takes_only_short_messages(server: Server, cast: Cast) -> None:
    web, cookie = server(), {"Cookie": f"{settings.SESSION_COOKIE_NAME}={sign_in(cast.alice)}"}
    for size in (daphne_server.SOCKET_MESSAGE_LIMIT + 1, 2 * MIB):
        with connect(f"ws{web.address[4:]}/ws/live/", origin=Origin(web.address), additional_headers=cookie) as live:
            with suppress(ConnectionClosed):
                live.send("x" * size)
            with pytest.raises(ConnectionClosed) as ended:
                live.recv(timeout=PATIENCE)
        assert ended.value.rcvd is None, "it was dropped; a message that is read is answered with a code"
    assert "Traceback" not in web.log


def test_a_socket_sends_changes_of_any_length(server: Server, cast: Cast) -> None:
    web, cookie = server(), {"Cookie": f"{settings.SESSION_COOKIE_NAME}={sign_in(cast.alice)}"}
    text = "x" * (daphne_server.SOCKET_MESSAGE_LIMIT // 4)
    with connect(
        f"ws{web.address[4:]}/ws/live/", origin=Origin(web.address), additional_headers=cookie, max_size=None
    ) as live:
        live.send(json.dumps({"watch": {"airline": "ACME", "topics": ["load"], "rev": 0}}))
        live.recv(timeout=PATIENCE)
        changes = [FeedChange("load", number, cast.acme.pk, "N1", "c", {"error": text}) for number in range(1, 101)]
        with transaction.atomic():
            publish(changes)
        objects: set[int] = set()
        while len(objects) < len(changes):
            received = json.loads(live.recv(timeout=PATIENCE))
            assert "error" not in received
            objects |= {change["object"] for change in received.get("changes", [])}
