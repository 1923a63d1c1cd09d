"""Reads and checks responses of a store within limits of size and time, and translates errors of urllib3.

Touches only the sockets of the given responses.
"""

from __future__ import annotations

import builtins
import http.client
import re
import select
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final, Self

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError, TimeoutError

from loader.errors import Code, WorldError
from loader.frozen import frozen
from loader.s3.etags import etag_text, parse_etag
from loader.s3.http.failures import connection_failure, tls_failure
from loader.s3.http.headers import parse_content_range, parse_last_modified
from loader.s3.http.proxies import Proxy
from loader.s3.interface import BLOCK, RequestStats

GATHER: Final = 0.05  # seconds to wait for more bytes: TLS delivers them in records of at most 16 KiB
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_QUOTE_NOTHING: Final = (NewConnectionError, TimeoutError, SSLError)  # errors without text of the other side


@contextmanager
def translate_errors(what: str, proxy: Proxy | None = None) -> Iterator[None]:
    """Turn errors of urllib3 and http.client into WorldError. `what` names the request, `proxy` that in between."""
    try:
        yield
    except HTTPError as error:
        code, reason = connection_failure(error, proxy)
        # Others are not chained: http.client quotes malformed lines, in which a store may echo parts of the request.
        raise WorldError(code, f"{what}: {reason}") from (error if isinstance(error, _QUOTE_NOTHING) else None)
    except ValueError as error:  # http.client rejects headers with a line break or characters outside Latin-1
        # Not chained: the message quotes the header, which may contain credentials.
        raise WorldError(
            Code.INTERNAL, f"{what}: the request or its response is not valid HTTP ({type(error).__name__})"
        ) from None


def release_connection(response: BaseHTTPResponse) -> None:
    """Return the connection to its pool, closed if the body was not read to its end."""
    if not response.closed:
        response.close()
    response.release_conn()


def etag_of(headers: Mapping[str, str], what: str) -> str:
    """Return the ETag of a response. Raises WorldError if there is none: no object store omits it."""
    etag = parse_etag(headers.get("ETag") or "")
    if not etag_text(etag):
        raise WorldError(Code.NETWORK, f"{what}: the response has no ETag, so it is not from an object store")
    return etag


def read_limited(response: BaseHTTPResponse, limit: int, what: str, deadline: float) -> bytes:
    """Read at most `limit` + 1 bytes of the body, until `deadline` on the monotonic clock. Raises WorldError."""
    body = bytearray()
    while len(body) <= limit:
        if time.monotonic() > deadline:
            raise WorldError(Code.TIMEOUT, f"{what}: the response is too slow")
        with translate_errors(what):
            block = response.read1(min(BLOCK, limit + 1 - len(body)))
        if not block:
            break
        body += block
    return bytes(body)


def is_compressed_in_transit(response: BaseHTTPResponse) -> bool:
    """Whether a proxy compressed the body: for stored bytes, encoded or not, the store knows the length."""
    encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    return encoding not in ("identity", "aws-chunked") and "Content-Length" not in response.headers


@frozen
class ObjectHeaders:
    """Headers of an object: ETag, date, complete size, and offset and length of the body. None if unknown."""

    etag: str
    last_modified: datetime
    size: int | None
    start: int
    length: int | None

    @classmethod
    def from_response(
        cls, response: BaseHTTPResponse, what: str, start: int, limit: int | None = None
    ) -> ObjectHeaders:
        """Check a 200 or 206 to a request for `limit` bytes from `start` on. Raises WorldError if it does not match."""
        etag = etag_of(response.headers, what)
        date = parse_last_modified(response.headers.get("Last-Modified"))
        text = response.headers.get("Content-Length") or ""
        length = int(text) if _DIGITS.fullmatch(text) else None
        if response.status != 206:
            return cls(etag, date, length, 0, length)
        try:
            first, last, size = parse_content_range(response.headers.get("Content-Range"))
        except ValueError as error:
            raise WorldError(Code.NETWORK, f"{what}: {error}") from error
        ends = [end - 1 for end in (size, None if limit is None else start + limit) if end is not None]
        expected = min(ends, default=last)
        # Of an object of unknown size a range may end early. The reader of the body notices that bytes are missing.
        is_complete = last == expected or (size is None and last < expected)
        if first != start or not is_complete or length not in (None, last - first + 1):
            raise WorldError(Code.NETWORK, f"{what}: the store sent bytes {first}-{last}, not {start}-{expected}")
        return cls(etag, date, size, first, last - first + 1)


class ResponseBody:
    """An open object: `loader.s3.interface.Body` over one response.

    A body of known length bypasses urllib3: it is read from the socket directly into the caller's memory. Others, which
    no S3 sends for objects, are copied once more.
    """

    def __init__(
        self, response: BaseHTTPResponse, what: str, start: int, end: int | None, requests: RequestStats
    ) -> None:
        """Check the headers. `requests` counts the bytes read. Raises WorldError."""
        headers = ObjectHeaders.from_response(response, what, start, None if end is None else end - start)
        self.size, self.start = headers.size, headers.start
        self.etag, self.last_modified = headers.etag, headers.last_modified
        self._left = headers.length
        self._response = response
        self._requests = requests
        self._what = what
        self._socket = _Socket.from_response(response) if headers.length else None
        self._failed: WorldError | None = None
        self._aborted = False

    def read(self, limit: int = BLOCK) -> bytes:
        buffer = bytearray(limit)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read what arrives within GATHER seconds, at least one byte. Return the count, 0 at the end.

        An error after the first byte is raised by the next call.
        """
        if self._failed:
            raise self._failed
        total, view, deadline = 0, memoryview(buffer), 0.0
        try:
            while total < len(view):
                if total and not (self._left and self._socket and self._socket.readable(deadline)):
                    break
                count = self._read_some(view[total:])
                if count == 0:
                    break
                deadline = deadline or time.monotonic() + GATHER
                total += count
        except WorldError as error:
            if not total:
                raise
            self._failed = error
        return total

    def _read_some(self, view: memoryview) -> int:
        """Wait for bytes and read them. Return the count, 0 at the end."""
        if self._left == 0:
            return 0
        if self._socket is None:
            with translate_errors(self._what):
                block = self._response.read1(len(view))
            view[: len(block)] = block
            count = len(block)
        else:
            count = self._socket.readinto(view[: self._left], self._what)
        self._requests.receive(count)
        if self._aborted:  # over TLS, bytes read after an abort may be encrypted records
            raise WorldError(Code.NETWORK, f"{self._what}: the read was aborted")
        if self._left is not None:
            self._left -= count
            if count == 0:
                raise WorldError(Code.SHORT_BODY, f"{self._what}: the body ended {self._left} bytes early")
            if self._left == 0 and self._socket:
                self._socket.finish()
        return count

    def abort(self) -> None:
        self._aborted = True
        # ValueError, RuntimeError: the read has just ended.
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        release_connection(self._response)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Socket:
    """The body of one response, read below urllib3 and http.client: first their buffer, then the socket."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._buffered: int | None = None
        self._poll = select.poll()
        self._poll.register(response.fileno(), select.POLLIN)

    @classmethod
    def from_response(cls, response: BaseHTTPResponse) -> Self | None:
        """None for a body in chunks, which only http.client can take apart, or one that is over."""
        inner = getattr(response, "_original_response", None)
        if not isinstance(inner, http.client.HTTPResponse) or inner.chunked or inner.isclosed():
            return None
        return cls(inner)

    def readinto(self, view: memoryview, what: str) -> int:
        """Read at least one byte, unless the connection ends. Raises WorldError."""
        reader = self._response.fp
        try:
            if self._buffered is None:
                self._buffered = len(reader.peek())  # bytes that came with the headers, or the first to come
            if self._buffered:
                count = reader.readinto(view[: self._buffered])
                self._buffered -= count
                return count
            # From here on, bypass the buffer, which would copy every byte.
            return reader.raw.readinto(view) or 0
        except builtins.TimeoutError as error:
            raise WorldError(Code.TIMEOUT, f"{what}: the store did not respond in time") from error
        except ssl.SSLError as error:
            raise WorldError(Code.NETWORK, f"{what}: {tls_failure(error)}") from error
        # ValueError, AttributeError: another thread has closed the response.
        except (OSError, ValueError, AttributeError) as error:
            raise WorldError(Code.NETWORK, f"{what}: the connection failed ({type(error).__name__})") from error

    def readable(self, deadline: float) -> bool:
        """Whether more bytes arrive before `deadline` on the monotonic clock.

        Does not see bytes that OpenSSL has decrypted already, but only a read that filled its buffer leaves any.
        """
        wait = deadline - time.monotonic()
        return wait > 0 and (bool(self._buffered) or bool(self._poll.poll(wait * 1000)))

    def finish(self) -> None:
        """Allow the connection to be reused: the body was read to its end."""
        self._response.close()
