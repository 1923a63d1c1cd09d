"""Faults of the link between an aircraft and the store, for `fleet.simulation.proxy`. No Django.

A `Rule` selects the requests that a fault affects: by method ("GET", "PUT", "DELETE", or "LIST" for a listing), by a
shell pattern for `bucket/key`, from the nth matching request on, and how many times. `Rule.hits` counts them: assert on
it, because a fault that never occurred proves nothing.

    link.add(Rule(FlipByte(at=5_000_000), key="*/movie-001.tgz"))  # its first GET; the second is correct
    link.add(Rule(ErrorResponse(503, "SlowDown", retry_after=1), method="PUT", times=3))
    link.add(Rule(Truncate(after=100_000), key="*.tgz", nth=2, times=None))  # every GET but the first
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
ERROR_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>made up</Message></Error>'


class HangUp(Exception):
    """Close the connection here, with a TCP reset if `reset`."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass
class Head:
    """Status and headers of a response. `length` is None for a chunked body; `headers` has no Content-Length."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = 0

    def find(self, name: str) -> str:
        """Return the value of a header, in any case; empty if it is missing."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def drop(self, name: str) -> None:
        """Remove a header, in any case."""
        self.headers = {key: value for key, value in self.headers.items() if key.lower() != name.lower()}

    @property
    def start(self) -> int:
        """The offset in the object of the body's first byte."""
        match = _CONTENT_RANGE.fullmatch(self.find("Content-Range"))
        return int(match.group(1)) if match else 0


@dataclass
class Request:
    """A request as the client sent it. A fault may change it before it is forwarded, but has to sign it again then.

    `target` is path and query as sent.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def find(self, name: str) -> str:
        """Return the value of a header, in any case; empty if it is missing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


Chunks = AsyncIterator[bytes]


class Fault:
    """Base class without effect. A fault overrides one or two of the methods."""

    def for_request(self, request: Request) -> Fault:
        """Return the fault for this request: another one if it depends on the request or changes it."""
        return self

    async def answer(self) -> tuple[Head, bytes] | None:
        """Return a response in place of the store's, which then does not receive the request. May raise HangUp."""
        return None

    def head(self, head: Head) -> None:
        """Change the head of the store's response."""

    def body(self, chunks: Chunks, head: Head) -> Chunks:
        """Change the body of the store's response. May raise HangUp."""
        return chunks


@dataclass
class Rule:
    """When a fault occurs. `times=None`: without limit. `hits` counts the affected requests."""

    fault: Fault
    method: str = "GET"
    key: str = "*"
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether the fault affects this request. Call it once per request. `path` is `bucket/key`, decoded."""
        if self.method not in ("*", method) or not fnmatchcase(path, self.key):
            return False
        self.seen += 1
        is_hit = self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)
        self.hits += is_hit
        return is_hit


@dataclass
class ErrorResponse(Fault):
    """An S3 error with this status and code, e.g. `ErrorResponse(503, "SlowDown", retry_after=2)`."""

    status: int
    code: str = ""
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self) -> tuple[Head, bytes]:
        body = ERROR_XML.format(self.code).encode() if self.code else b""
        headers = {"Content-Type": "application/xml", **self.headers}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return Head(self.status, headers, len(body)), body


@dataclass
class Delay(Fault):
    """The request is forwarded only after this many seconds."""

    seconds: float

    async def answer(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass
class Hang(Fault):
    """No response ever comes."""

    async def answer(self) -> None:
        await asyncio.Event().wait()


@dataclass
class FlipByte(Fault):
    """One bit of the byte at this offset of the object is flipped; of the nearest byte if the range excludes it."""

    at: int = 0

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        position, flipped = head.start, False
        async for chunk in chunks:
            if not flipped and self.at < position + len(chunk):
                index = max(self.at - position, 0)
                chunk = chunk[:index] + bytes([chunk[index] ^ 1]) + chunk[index + 1 :]
                flipped = True
            position += len(chunk)
            yield chunk


@dataclass
class Truncate(Fault):
    """The body ends after this many bytes.

    By default the connection closes before the announced length is reached. `lie`: the head announces only these bytes,
    so that nothing looks wrong. `chunked`: the body is chunked without the last chunk; with `lie`, with it.
    """

    after: int
    lie: bool = False
    chunked: bool = False

    def head(self, head: Head) -> None:
        if self.chunked:
            head.length = None
        elif self.lie and head.length is not None:
            head.length = min(self.after, head.length)

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        async for chunk in first(chunks, self.after):
            yield chunk
        if not self.lie:
            raise HangUp


@dataclass
class Reset(Fault):
    """The connection is reset after this many bytes of the body; None: before any response."""

    after: int | None = None

    async def answer(self) -> None:
        if self.after is None:
            raise HangUp(reset=True)

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        async for chunk in first(chunks, self.after or 0):
            yield chunk
        raise HangUp(reset=True)


@dataclass
class ReplaceMidway(Fault):
    """After this many bytes `action` runs in a thread (to replace or delete the object), followed by a reset."""

    after: int
    action: Callable[[], object]

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        async for chunk in first(chunks, self.after):
            yield chunk
        await asyncio.to_thread(self.action)
        raise HangUp(reset=True)


@dataclass
class SlowBody(Fault):
    """After the first `after` bytes the body is sent byte by byte at this rate."""

    bytes_per_second: float
    after: int = 0

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        sent = 0
        async for chunk in chunks:
            fast = max(self.after - sent, 0)
            sent += len(chunk)
            if fast:
                yield chunk[:fast]
            for byte in chunk[fast:]:
                yield bytes([byte])
                await asyncio.sleep(1 / self.bytes_per_second)


@dataclass
class IgnoreRange(Fault):
    """The store responds with 200 and the complete object, `content`, for any requested range."""

    content: bytes

    def head(self, head: Head) -> None:
        head.status, head.length = 200, len(self.content)
        head.drop("Content-Range")

    def body(self, chunks: Chunks, head: Head) -> Chunks:
        return pieces(self.content)


@dataclass
class WrongRange(Fault):
    """The correct bytes with a Content-Range that is off by this many."""

    by: int = 1

    def head(self, head: Head) -> None:
        match = _CONTENT_RANGE.fullmatch(head.find("Content-Range"))
        if match:
            start, end, size = (int(number) for number in match.groups())
            head.drop("Content-Range")
            head.headers["Content-Range"] = f"bytes {start + self.by}-{end + self.by}/{size + self.by}"


@dataclass
class ErrorInside(Fault):
    """A 200 with an error as its body, as S3 sends for some requests. The ETag stays unless `etag` is false."""

    etag: bool = True

    def head(self, head: Head) -> None:
        head.status, head.length = 200, len(ERROR_XML.format("InternalError"))
        head.drop("Content-Range")
        if not self.etag:
            head.drop("ETag")

    def body(self, chunks: Chunks, head: Head) -> Chunks:
        return pieces(ERROR_XML.format("InternalError").encode())


@dataclass
class DropHeader(Fault):
    """The response lacks this header."""

    name: str

    def head(self, head: Head) -> None:
        head.drop(self.name)


async def first(chunks: Chunks, count: int) -> Chunks:
    """Yield the first `count` bytes."""
    if count <= 0:
        return
    async for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


async def pieces(content: bytes, size: int = 65_536) -> Chunks:
    """Yield the bytes in pieces, as from a socket."""
    for at in range(0, len(content), size):
        yield content[at : at + size]
