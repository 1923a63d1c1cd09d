"""Clients of the loader's local API for tests: regular ones over HTTP, and raw ones that send any bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.local_api.unix_socket import connect_socket
from tests.support.portal_system import PATIENCE

GET_STATUS = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
GET_EVENTS = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class SocketAnswer:
    """A response; `code` is 0 if there was none."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parse_answer(raw: bytes) -> SocketAnswer:
    """Parse a raw response strictly."""
    if not raw:
        return SocketAnswer(0, {}, b"")
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    version, code, _ = line.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    if "content-length" in headers:
        assert len(body) == int(headers["content-length"])
    return SocketAnswer(int(code), headers, body)


def send_raw(directory: Path, raw: bytes, *, hold: bool = False) -> SocketAnswer:
    """Send bytes and read until the loader closes. `hold` leaves the sending side open meanwhile."""
    with connect_socket(directory, PATIENCE) as client:
        try:
            client.sendall(raw)
            if not hold:
                client.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # the loader closed its side; its response can still be read
        return parse_answer(_all(client))


def _all(client: socket.socket) -> bytes:
    got = b""
    try:
        while block := client.recv(65536):
            got += block
    except ConnectionResetError:
        pass
    return got


def send_request(directory: Path, method: str, path: str, body: bytes | None = None, **headers: str) -> SocketAnswer:
    """Send a well-formed request."""
    fields = {"Host": "loader", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return send_raw(directory, "\r\n".join(lines).encode() + (body or b""), hold=True)


def post_now(directory: Path, wish: object) -> SocketAnswer:
    """Send POST /now."""
    return send_request(directory, "POST", "/now", json.dumps(wish).encode(), Content_Type="application/json")


@contextmanager
def stream_events(directory: Path) -> Iterator[Iterator[tuple[str, Any]]]:
    """Yield the kind and data of each event; a comment has the kind "comment". Ends when the loader closes."""
    with connect_socket(directory, PATIENCE) as client, client.makefile("rb") as lines:
        client.sendall(GET_EVENTS)
        assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
        while lines.readline().strip():
            pass
        yield _events(lines)


def _events(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in lines:
        name, _, value = line.decode("ascii").rstrip("\n").partition(": ")
        if line.startswith(b":"):
            yield "comment", None
        elif name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
