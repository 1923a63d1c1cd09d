"""Reads and parses one HTTP/1.1 request of a local program within bounds of size and time, and encodes responses.

Touches only the given socket. Raises `HttpError` for a bad request, with a response that says what to do, and OSError
if the client disconnects. One connection carries one request.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from loader.frozen import frozen

HEAD_LIMIT: Final = 8 * 1024
BODY_LIMIT: Final = 4 * 1024
_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1000}) HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_DRAIN_LIMIT: Final = 256 * 1024  # bytes to read and discard, so that a client that still sends can read the response
_BLOCK: Final = 8 * 1024


class HttpError(Exception):
    """An error response. `str()` says what is wrong, `advice` what to do."""

    def __init__(self, status: HTTPStatus, text: str, advice: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.advice, self.headers = status, advice, headers

    def to_response(self) -> bytes:
        return json_response(self.status, {"error": str(self), "advice": self.advice}, self.headers)


@frozen
class HttpRequest:
    """A request. `headers` by lower-case names; `body_start`: the bytes of the body received with the headers."""

    method: str
    path: str
    headers: Mapping[str, str]
    body_start: bytes = b""


def read_request(connection: socket.socket, deadline: float) -> HttpRequest:
    """Read a request without its body. `deadline`: time.monotonic(). Raises HttpError, OSError."""
    raw = b""
    while (end := raw.find(b"\r\n\r\n")) < 0:
        if len(raw) >= HEAD_LIMIT:
            raise HttpError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request headers are longer than {HEAD_LIMIT} bytes.",
                "Send fewer headers.",
            )
        raw += _receive(connection, deadline)
    return _parse(raw[:end], raw[end + 4 :])


def read_body(connection: socket.socket, request: HttpRequest, deadline: float) -> bytes:
    """Read the body. Raises HttpError, OSError."""
    text = request.headers.get("content-length")
    if text is None:
        raise HttpError(
            HTTPStatus.LENGTH_REQUIRED, "The request has no Content-Length.", "Send the length of the body in bytes."
        )
    if not _NUMBER.fullmatch(text):
        raise _bad("the Content-Length is not a number")
    length = int(text)
    if length > BODY_LIMIT:
        raise HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request body is longer than {BODY_LIMIT} bytes.",
            'Send only {"campaign": …, "content": …}.',
        )
    body = request.body_start
    while len(body) < length:
        body += _receive(connection, deadline)
    return body[:length]


def _receive(connection: socket.socket, deadline: float) -> bytes:
    """Receive some bytes. The deadline also ends a client that sends single bytes slowly."""
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        block = connection.recv(_BLOCK)
    except TimeoutError as error:
        raise HttpError(
            HTTPStatus.REQUEST_TIMEOUT, "The request took too long.", "Send it in one piece, without pauses."
        ) from error
    if not block:
        raise ConnectionError("the client disconnected before the end of its request")
    if time.monotonic() > deadline:
        raise HttpError(
            HTTPStatus.REQUEST_TIMEOUT, "The request took too long.", "Send it in one piece, without pauses."
        )
    return block


def _bad(reason: str) -> HttpError:
    return HttpError(
        HTTPStatus.BAD_REQUEST,
        f"The request is not valid HTTP/1.1: {reason}.",
        "Use an HTTP library over the Unix socket.",
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
            raise _bad(f"the header {name} occurs twice")
        headers[name] = field[2].decode("latin-1")
    if "transfer-encoding" in headers:
        raise HttpError(
            HTTPStatus.LENGTH_REQUIRED,
            "Chunked request bodies are not supported.",
            "Send the body in one piece, with a Content-Length.",
        )
    return HttpRequest(match[1].decode("ascii"), match[2].decode("ascii").partition("?")[0], headers, rest)


def json_response(status: HTTPStatus, body: object, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return a complete response with a JSON body."""
    return build_response(status, encode_json(body), headers)


def build_response(status: HTTPStatus, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return a complete response with an encoded JSON body, which is omitted for 304."""
    fields = {"Cache-Control": "no-cache", "Connection": "close", **headers}
    if status != HTTPStatus.NOT_MODIFIED:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in fields.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + (b"" if status == HTTPStatus.NOT_MODIFIED else body)


def encode_json(body: object) -> bytes:
    """Return JSON in one line of ASCII."""
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def finish_connection(connection: socket.socket, deadline: float) -> None:
    """End the response and discard what the client still sends, so that it can read it. Raises OSError."""
    connection.shutdown(socket.SHUT_WR)
    left = _DRAIN_LIMIT
    while left > 0 and (wait := deadline - time.monotonic()) > 0:
        connection.settimeout(wait)
        block = connection.recv(min(left, 64 * 1024))
        if not block:
            break
        left -= len(block)
