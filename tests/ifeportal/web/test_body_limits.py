"""Bodies above the limit are refused before they are read. Uses a real daphne, without sign-in."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from PIL import Image

from ifeportal.models import Airline
from ifeportal.web.asgi_middleware import BodyLimit
from tests.conftest import Cast
from tests.support.portal_system import PATIENCE
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

MIB = 2**20
LIMIT = 2 * MIB
PATHS = ["/healthz", "/login/", "/api/v1/transfers/", "/no/such/page?x=1"]
MULTIPART = "Content-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n'
BY_DJANGO = (400, 403)  # an unreadable form, or a form without a CSRF token
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with WebServer(tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def fresh_web(tmp_path: Path) -> Iterator[WebServer]:
    """Start another server, whose peak of memory is its own."""
    with WebServer(tmp_path, popen=subprocess.Popen) as server:
        yield server


def head(path: str, *lines: str) -> bytes:
    """Return a POST request up to its body."""
    sent = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", MULTIPART.strip(), *lines]
    return ("\r\n".join(sent) + "\r\n\r\n").encode()


def answer_of(connection: socket.socket) -> tuple[HTTPResponse, bytes]:
    found = HTTPResponse(connection)
    found.begin()
    return found, found.read()


def flood(web: WebServer, start: bytes, block: bytes, total: int) -> bytes:
    """Send `start`, then blocks until `total` bytes are sent or the server refuses; return its response."""
    response = b""
    with web.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(start)
            for _ in range(total // len(block)):
                connection.sendall(block)
            connection.sendall(b"0\r\n\r\n" if block == CHUNK else b"")
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                response += part
    return response


@pytest.mark.parametrize("path", PATHS)
def test_a_body_declared_too_large_is_refused_before_a_byte_of_it_is_sent(path: str, web: WebServer) -> None:
    for lines in ([f"Content-Length: {LIMIT + 1}"], [f"Content-Length: {10**15}", "Expect: 100-continue"]):
        with web.connect() as connection:
            connection.settimeout(5)
            connection.sendall(head(path, *lines))
            found, body = answer_of(connection)
            assert found.status == 413
            assert found.headers["Connection"] == "close"
            assert connection.recv(1) == b"", "nothing follows"
        check_page(path, found, body)
    assert f'"POST {path}" 413' in web.log
    assert "Traceback" not in web.log


@pytest.mark.parametrize("path", PATHS)
def test_a_chunked_body_is_refused_once_it_is_too_large(path: str, web: WebServer) -> None:
    with web.connect() as connection:
        connection.settimeout(5)
        connection.sendall(head(path, "Transfer-Encoding: chunked"))
        for _ in range(LIMIT // 65_536):
            connection.sendall(CHUNK)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        connection.sendall(b"1\r\nx\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        found, body = answer_of(connection)
        assert connection.recv(1) == b"", "what follows on the connection is no request"
    assert found.status == 413
    check_page(path, found, body)
    assert "Traceback" not in web.log


def check_page(path: str, found: HTTPResponse, body: bytes) -> None:
    """Check the problem document or the page, and the headers of every response."""
    if path.startswith("/api/"):
        assert found.headers["Content-Type"] == "application/problem+json"
        assert (json.loads(body)["status"], json.loads(body)["instance"]) == (413, path)
    else:
        assert "text/html" in found.headers["Content-Type"]
        assert b"<h1>" in body
        assert b"413" in body
    assert "default-src 'self'" in found.headers["Content-Security-Policy"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/healthz", "/login/"])
def test_memory_is_bounded_and_others_are_served_while_anonymous_clients_send_large_bodies(
    path: str, fresh_web: WebServer
) -> None:
    total = 64 * MIB
    ways = [
        (head(path, f"Content-Length: {total + len(PART)}") + PART, b"x" * 65_536),
        (head(path, "Transfer-Encoding: chunked"), CHUNK),
    ]
    fresh_web.ask("GET", "/login/")
    before = fresh_web.memory("VmHWM")
    waits: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            began = time.monotonic()
            assert fresh_web.ask("GET", "/healthz").status == 200
            waits.append(time.monotonic() - began)

    with ThreadPoolExecutor(7) as pool:
        looking = pool.submit(look)
        try:
            answers = list(pool.map(lambda way: flood(fresh_web, way[0], way[1], total), ways * 3))
        finally:
            over.set()
        looking.result()
    assert [response.split(b"\r\n")[0].split()[1] for response in answers if response] == [b"413"] * len(answers)
    assert fresh_web.memory("VmHWM") - before < 24 * MIB
    assert waits
    assert max(waits) < 2


def test_a_form_just_small_enough_takes_little_more_than_itself(fresh_web: WebServer) -> None:
    """Twisted would parse the form in the event loop, at twelve times its size in memory."""
    body = PART + b"x" * (LIMIT - len(PART) - 9) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert fresh_web.ask("POST", "/login/", b"--b--\r\n", headers).status == 403  # no CSRF token
    before = fresh_web.memory("VmHWM")
    for _ in range(8):
        assert fresh_web.ask("POST", "/login/", body, headers).status == 403
    assert fresh_web.memory("VmHWM") - before < 16 * MIB


def test_a_client_that_continues_sending_is_disconnected_after_some_seconds(web: WebServer) -> None:
    with web.connect() as connection:
        connection.sendall(head("/login/", f"Content-Length: {10**9}"))
        assert answer_of(connection)[0].status == 413
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < PATIENCE:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < PATIENCE


def test_a_socket_cannot_be_opened_with_a_large_body(web: WebServer) -> None:
    with web.connect() as connection:
        upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA=="]
        connection.sendall(head("/ws/live/", *upgrade, "Sec-WebSocket-Version: 13", f"Content-Length: {LIMIT + 1}"))
        assert answer_of(connection)[0].status == 413


def test_a_small_body_is_asked_for_and_taken_and_the_connection_goes_on(web: WebServer) -> None:
    with web.connect() as connection:
        for _ in range(2):
            connection.sendall(head("/login/", "Content-Length: 5", "Expect: 100-continue"))
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"hello")
            assert answer_of(connection)[0].status in BY_DJANGO
        connection.sendall(head("/login/", "Transfer-Encoding: chunked") + CHUNK + b"0\r\n\r\n")
        assert answer_of(connection)[0].status == 403


def logo(web: WebServer, client: Client, picture: bytes) -> tuple[int, str]:
    """Upload a logo like the browser of a manager."""
    cookies = {name: cookie.value for name, cookie in client.cookies.items()}
    page = web.ask("GET", "/airlines/ACME/settings/", headers={"Cookie": joined(cookies)})
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
    assert token
    fields = {"csrfmiddlewaretoken": token[1], "title": "Acme Air", "colour": "#aa2200", "contact": "x" * 1000}
    fields |= {"stalled_after_minutes": "20", "silent_after_hours": "12", "risk_before_hours": "72"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    file = PART.replace(b'"x"', b'"new_logo"', 1)
    body = "".join(parts).encode() + file + picture + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Cookie": joined(cookies | page.cookies)}
    answer = web.ask("POST", "/airlines/ACME/settings/", body, headers)
    return answer.status, answer.body


def joined(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def test_a_logo_of_a_megabyte_is_taken_and_a_larger_one_refused_with_a_sentence(web: WebServer, cast: Cast) -> None:
    client = Client()
    client.force_login(cast.mona)
    out = BytesIO()
    Image.effect_noise((1000, 1000), 100).save(out, "PNG")
    picture = out.getvalue()
    assert MIB // 2 < len(picture) <= MIB
    assert logo(web, client, picture)[0] == 302
    assert Airline.objects.get(name="ACME").logo_tag
    status, body = logo(web, client, picture + b"\0" * (MIB * 4 // 5))
    assert status == 400
    assert "The logo is larger than 1 MB" in body


async def asked_by_another_server(headers: list[tuple[bytes, bytes]], parts: int) -> tuple[int, int]:
    """Send a body of `parts` MiB to an application behind BodyLimit; return the status and the MiB it read."""
    sent: list[Any] = []
    read = 0

    async def receive() -> Any:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * MIB, "more_body": read < parts}

    async def send(event: Any) -> None:
        sent.append(event)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    await BodyLimit(application)({"type": "http", "path": "/login/", "headers": headers}, receive, send)
    return sent[0]["status"], read


async def test_behind_another_server_the_application_reads_no_more_than_the_limit() -> None:
    assert settings.BODY_LIMIT == LIMIT
    assert await asked_by_another_server([], parts=2) == (200, 2)
    assert await asked_by_another_server([], parts=100) == (413, 3)
    assert await asked_by_another_server([(b"content-length", b"%d" % (LIMIT + 1))], parts=100) == (413, 0)
    assert await asked_by_another_server([(b"content-length", b"%d" % LIMIT)], parts=2) == (200, 2)
