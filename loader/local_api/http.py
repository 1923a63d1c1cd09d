"""Reads and parses one HTTP/1.1 request of a local program within bounds of size and time, and encodes responses.

Touches only the socket it is given. A bad request is raised as `HttpError`, whose response says what to do; a client
that went away as OSError. One connection carries one request.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

HEAD_LIMIT: Final = 8 * 1024
BODY_LIMIT: Final = 4 * 1024
_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1000}) HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_DRAIN_LIMIT: Final = 256 * 1024  # bytes nobody wants that are still read, so that a busy sender gets to our answer
_BLOCK: Final = 8 * 1024


class HttpError(Exception):
    """The request cannot be granted. `str()` says why, `advice` what to do."""

    def __init__(self, status: HTTPStatus, text: str, advice: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.advice, self.headers = status, advice, headers

    def to_response(self) -> bytes:
        """As it is sent."""
        return json_response(self.status, {"error": str(self), "advice": self.advice}, self.headers)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What was asked. `headers` by their names in small letters; `body_start`: bytes of the body that came along."""

    method: str
    path: str
    headers: Mapping[str, str]
    body_start: bytes = b""


def read_request(connection: socket.socket, deadline: float) -> HttpRequest:
    """The request without its body. `deadline` is of time.monotonic(). Raises Refusal, OSError."""
    raw = b""
    while (end := raw.find(b"\r\n\r\n")) < 0:
        if len(raw) >= HEAD_LIMIT:
            raise HttpError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The headers are longer than {HEAD_LIMIT} bytes.",
                "Send fewer headers.",
            )
        raw += _receive(connection, deadline)
    return _parse(raw[:end], raw[end + 4 :])


def read_body(connection: socket.socket, request: HttpRequest, deadline: float) -> bytes:
    """The body. Raises Refusal, OSError."""
    told = request.headers.get("content-length")
    if told is None:
        raise HttpError(HTTPStatus.LENGTH_REQUIRED, "The length of the body is missing.", "Send a Content-Length.")
    if not _NUMBER.fullmatch(told):
        raise _bad("the Content-Length is no number")
    length = int(told)
    if length > BODY_LIMIT:
        raise HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is longer than {BODY_LIMIT} bytes.",
            'Send nothing but {"campaign": …, "content": …}.',
        )
    body = request.body_start
    while len(body) < length:
        body += _receive(connection, deadline)
    return body[:length]


def _receive(connection: socket.socket, deadline: float) -> bytes:
    """Some bytes. A sender that is slow byte by byte meets the same deadline."""
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        block = connection.recv(_BLOCK)
    except TimeoutError as error:
        raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The request took too long.", "Send it in one piece.") from error
    if not block:
        raise ConnectionError("it went away before it had asked")
    if time.monotonic() > deadline:
        raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The request took too long.", "Send it in one piece.")
    return block


def _bad(why: str) -> HttpError:
    return HttpError(
        HTTPStatus.BAD_REQUEST, f"This is not HTTP/1.1: {why}.", "Use an HTTP library over the Unix socket."
    )


def _parse(head: bytes, rest: bytes) -> HttpRequest:
    first, *lines = head.split(b"\r\n")
    match = _LINE.fullmatch(first)
    if match is None:
        raise _bad("the request line is malformed")
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _bad("a header is malformed")
        name = field[1].decode("ascii").lower()
        if name in headers and name in ("content-length", "transfer-encoding", "content-type"):
            raise _bad(f"{name} is there twice")
        headers[name] = field[2].decode("latin-1")
    if "transfer-encoding" in headers:
        raise HttpError(
            HTTPStatus.LENGTH_REQUIRED, "The body comes in chunks.", "Send it whole, with a Content-Length."
        )
    return HttpRequest(match[1].decode("ascii"), match[2].decode("ascii").partition("?")[0], headers, rest)


def json_response(status: HTTPStatus, body: object, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """A whole answer with a JSON body."""
    return build_response(status, encode_json(body), headers)


def build_response(status: HTTPStatus, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The same with a body that is encoded already; with 304 it is left out."""
    told = {"Cache-Control": "no-cache", "Connection": "close", **headers}
    if status != HTTPStatus.NOT_MODIFIED:
        told |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if status == HTTPStatus.NOT_MODIFIED else body)


def encode_json(body: object) -> bytes:
    """JSON in one line, ASCII."""
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def finish_connection(connection: socket.socket, deadline: float) -> None:
    """Say that nothing follows, and let a sender that is still at it get to our answer. Raises OSError."""
    connection.shutdown(socket.SHUT_WR)
    left = _DRAIN_LIMIT
    while left > 0 and (wait := deadline - time.monotonic()) > 0:
        connection.settimeout(wait)
        block = connection.recv(min(left, 64 * 1024))
        if not block:
            break
        left -= len(block)
