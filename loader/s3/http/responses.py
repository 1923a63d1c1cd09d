"""Reads responses of a store within limits of size and time, checks them and translates urllib3's errors.

Touches only the sockets of the responses it is given.
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
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError, TimeoutError

from loader.errors import Code, WorldError
from loader.s3.http.headers import EPOCH, parse_content_range, parse_http_date
from loader.s3.interface import BLOCK, RequestStats

GATHER: Final = 0.05  # seconds that bytes may wait for more: TLS gives them in records of 16 KiB at most
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn errors of urllib3 and http.client into WorldError; `what` names the request in the text."""
    try:
        yield
    except NameResolutionError as error:
        raise WorldError(Code.NETWORK, f"{what}: the store's name is not known here") from error
    except NewConnectionError as error:  # urllib3 counts it among its timeouts
        raise WorldError(Code.NETWORK, f"{what}: the store refuses connections or is not there") from error
    except TimeoutError as error:
        raise WorldError(Code.TIMEOUT, f"{what}: the store did not answer in time") from error
    except SSLError as error:
        raise WorldError(Code.NETWORK, f"{what}: no trusted connection to the store") from error
    except HTTPError as error:
        if isinstance(error.__cause__, http.client.IncompleteRead):
            raise WorldError(Code.SHORT_BODY, f"{what}: the connection ended before the body did") from error
        # Not chained: http.client quotes a line it does not understand, in which a store may say what it was sent.
        raise WorldError(Code.NETWORK, f"{what}: the connection failed ({_root_cause_name(error)})") from None
    except ValueError as error:  # http.client refuses to send a header with a line break, or outside of Latin-1
        # Not chained: the message quotes the header, which may be the one with the credentials.
        raise WorldError(
            Code.INTERNAL, f"{what}: the request or its answer is not valid HTTP ({type(error).__name__})"
        ) from None


def _root_cause_name(error: BaseException) -> str:
    """The kind of the first cause: names such as ConnectionRefusedError; messages may hold addresses."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return type(error).__name__


def release_connection(response: BaseHTTPResponse) -> None:
    """Give the connection back to its pool, closed if the body was not read to its end."""
    if not response.closed:
        response.close()
    response.release_conn()


def etag_of(headers: Mapping[str, str], what: str) -> str:
    """Return the ETag of an answer, without quotes. Raises WorldError: an answer without is no object store's."""
    etag = (headers.get("ETag") or "").strip('"')
    if not etag:
        raise WorldError(Code.NETWORK, f"{what}: the answer has no ETag, so it is not an object store's")
    return etag


def read_limited(response: BaseHTTPResponse, limit: int, what: str, deadline: float) -> bytes:
    """The body, at most one byte more than `limit` says; `deadline` on the monotonic clock ends a trickle."""
    found = bytearray()
    while len(found) <= limit:
        if time.monotonic() > deadline:
            raise WorldError(Code.TIMEOUT, f"{what}: the answer comes too slowly")
        with translate_errors(what):
            block = response.read1(min(BLOCK, limit + 1 - len(found)))
        if not block:
            break
        found += block
    return bytes(found)


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """What the headers of an object say: its ETag and date, its whole size, the bytes that follow and their offset."""

    etag: str
    last_modified: datetime
    size: int | None
    start: int
    length: int | None

    @classmethod
    def from_response(
        cls, response: BaseHTTPResponse, what: str, start: int, limit: int | None = None
    ) -> ObjectHeaders:
        """Check a 200 or 206 to a request for `limit` bytes from `start` on. Raises WorldError if they do not agree."""
        etag = etag_of(response.headers, what)
        when = parse_http_date(response.headers.get("Last-Modified")) or EPOCH
        text = response.headers.get("Content-Length") or ""
        length = int(text) if _DIGITS.fullmatch(text) else None
        if response.status != 206:
            return cls(etag, when, length, 0, length)
        try:
            first, last, size = parse_content_range(response.headers.get("Content-Range"))
        except ValueError as error:
            raise WorldError(Code.NETWORK, f"{what}: {error}") from error
        wanted = size - 1 if limit is None else min(size, start + limit) - 1
        if (first, last) != (start, wanted) or length not in (None, last - first + 1):
            raise WorldError(Code.NETWORK, f"{what}: the store sent bytes {first}-{last}, not those from {start} on")
        return cls(etag, when, size, first, last - first + 1)


class ResponseBody:
    """An open object: `loader.s3.interface.Body` over one response.

    A body whose length is known is read past urllib3, straight from the socket into the caller's memory. Others, which
    no S3 sends for an object, are copied once more.
    """

    def __init__(
        self, response: BaseHTTPResponse, what: str, start: int, end: int | None, requests: RequestStats
    ) -> None:
        """`requests` hears of the bytes that were read."""
        facts = ObjectHeaders.from_response(response, what, start, None if end is None else end - start)
        self.size, self.start = facts.size, facts.start
        self.etag, self.last_modified = facts.etag, facts.last_modified
        self._left = facts.length
        self._response = response
        self._requests = requests
        self._what = what
        self._socket = _Socket.from_response(response) if facts.length else None
        self._failed: WorldError | None = None
        self._aborted = False

    def read(self, limit: int = BLOCK) -> bytes:
        """At most `limit` bytes, as they arrive; empty at the end."""
        buffer = bytearray(limit)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill as much of `buffer` as arrives within GATHER seconds, at least a byte; 0 at the end.

        An error waits for the next call if bytes came before it.
        """
        if self._failed:
            raise self._failed
        got, view, deadline = 0, memoryview(buffer), 0.0
        try:
            while got < len(view):
                if got and not (self._left and self._socket and self._socket.readable(deadline)):
                    break
                count = self._read_some(view[got:])
                if count == 0:
                    break
                deadline = deadline or time.monotonic() + GATHER
                got += count
        except WorldError as error:
            if not got:
                raise
            self._failed = error
        return got

    def _read_some(self, view: memoryview) -> int:
        """What has arrived, or waits for it; 0 at the end."""
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
        if self._aborted:  # over TLS, what is read after that may be the bare records
            raise WorldError(Code.NETWORK, f"{self._what}: the read was aborted")
        if self._left is not None:
            self._left -= count
            if count == 0:
                raise WorldError(Code.SHORT_BODY, f"{self._what}: {self._left} bytes are missing at the end")
            if self._left == 0 and self._socket:
                self._socket.finish()
        return count

    def abort(self) -> None:
        """End a read that waits in another thread: it raises."""
        self._aborted = True
        # ValueError, RuntimeError: it has ended by itself meanwhile.
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""
        release_connection(self._response)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Socket:
    """The body of one response, below urllib3 and http.client: what lies in their buffer, then the socket itself."""

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
        """At least a byte, unless the connection ends. Raises WorldError."""
        reader = self._response.fp
        try:
            if self._buffered is None:
                self._buffered = len(reader.peek())  # what came with the headers, else of what comes first
            if self._buffered:
                count = reader.readinto(view[: self._buffered])
                self._buffered -= count
                return count
            # From here on the buffer stays empty: that would cost a copy of all bytes.
            return reader.raw.readinto(view) or 0
        except builtins.TimeoutError as error:
            raise WorldError(Code.TIMEOUT, f"{what}: the store did not answer in time") from error
        except ssl.SSLError as error:
            raise WorldError(Code.NETWORK, f"{what}: no trusted connection to the store") from error
        # ValueError, AttributeError: closed meanwhile by another thread.
        except (OSError, ValueError, AttributeError) as error:
            raise WorldError(Code.NETWORK, f"{what}: the connection failed ({type(error).__name__})") from error

    def readable(self, deadline: float) -> bool:
        """Whether more comes before `deadline` on the monotonic clock.

        What OpenSSL has already decrypted is not seen here, but only a read that filled its memory leaves any there.
        """
        wait = deadline - time.monotonic()
        return wait > 0 and (bool(self._buffered) or bool(self._poll.poll(wait * 1000)))

    def finish(self) -> None:
        """The body was read to its end: the connection may be used again."""
        self._response.close()
