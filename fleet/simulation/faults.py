"""Faults of the link between an aircraft and the store, each by itself. For `fleet.simulation.proxy`; no Django.

A `Rule` says which requests a fault hits: by method ("GET", "PUT", "DELETE", or "LIST" for a listing), by a shell
pattern over `bucket/key`, from the nth matching request on, how many times. `Rule.hits` counts them: assert on it, a
fault that never fired proves nothing.

    link.add(Rule(FlipByte(at=5_000_000), key="*/movie-001.tgz"))           # the first GET of it; the second is right
    link.add(Rule(Say(503, "SlowDown", retry_after=1), method="PUT", times=3))
    link.add(Rule(Cut(after=100_000), key="*.tgz", nth=2, times=None))       # every GET but the first
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
    """End the connection here; with a reset instead of an orderly end if `reset`."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass
class Head:
    """Status and headers of an answer. `length` is None for a chunked body; no Content-Length stands in `headers`."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = 0

    def find(self, name: str) -> str:
        """The value of a header, whatever its case; empty if it is not there."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def drop(self, name: str) -> None:
        """Remove a header, whatever its case."""
        self.headers = {key: value for key, value in self.headers.items() if key.lower() != name.lower()}

    @property
    def start(self) -> int:
        """The offset in the object of the first byte of the body."""
        match = _CONTENT_RANGE.fullmatch(self.find("Content-Range"))
        return int(match.group(1)) if match else 0


Chunks = AsyncIterator[bytes]


class Fault:
    """Nothing goes wrong. A fault overrides one or two of these."""

    async def answer(self) -> tuple[Head, bytes] | None:
        """An answer in place of the store's, which then never hears of the request. May raise HangUp."""
        return None

    def head(self, head: Head) -> None:
        """Change the head of the store's answer."""

    def body(self, chunks: Chunks, head: Head) -> Chunks:
        """Change the body of the store's answer. May raise HangUp."""
        return chunks


@dataclass
class Rule:
    """When a fault strikes. `times=None`: for ever. `hits` counts the requests it struck."""

    fault: Fault
    method: str = "GET"
    key: str = "*"
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is one of them; to be asked once for each request. `path` is `bucket/key`, decoded."""
        if self.method not in ("*", method) or not fnmatchcase(path, self.key):
            return False
        self.seen += 1
        struck = self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)
        self.hits += struck
        return struck


@dataclass
class ErrorResponse(Fault):
    """The store refuses: an S3 error with this status and code, e.g. `ErrorResponse(503, "SlowDown",
    retry_after=2)`.
    """

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
    """The store takes its time: so many seconds before the request goes on."""

    seconds: float

    async def answer(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass
class Hang(Fault):
    """No answer ever comes."""

    async def answer(self) -> None:
        await asyncio.Event().wait()


@dataclass
class FlipByte(Fault):
    """One bit of the byte at this offset of the object is wrong; of the nearest byte sent, if that one is not."""

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
    """The body ends after so many bytes.

    By default the connection closes though the head promised more. `lie`: the head promises only these bytes, so that
    nothing looks wrong. `chunked`: the body comes in chunks and the last one is missing; with `lie` even that is there.
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
    """The connection is reset after so many bytes of the body; None: instead of any answer."""

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
    """After so many bytes `action` runs (in a thread: put another object there, delete it), then a reset follows."""

    after: int
    action: Callable[[], object]

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        async for chunk in first(chunks, self.after):
            yield chunk
        await asyncio.to_thread(self.action)
        raise HangUp(reset=True)


@dataclass
class SlowBody(Fault):
    """The body comes byte by byte, so many a second, after the first `after` bytes."""

    bytes_per_second: float
    after: int = 0

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        sent = 0
        async for chunk in chunks:
            free = max(self.after - sent, 0)
            sent += len(chunk)
            if free:
                yield chunk[:free]
            for byte in chunk[free:]:
                yield bytes([byte])
                await asyncio.sleep(1 / self.bytes_per_second)


@dataclass
class IgnoreRange(Fault):
    """The store answers 200 with the whole object, which is `content`, whatever range was asked for."""

    content: bytes

    def head(self, head: Head) -> None:
        head.status, head.length = 200, len(self.content)
        head.drop("Content-Range")

    def body(self, chunks: Chunks, head: Head) -> Chunks:
        return pieces(self.content)


@dataclass
class WrongRange(Fault):
    """The right bytes under a Content-Range that is off by so many."""

    by: int = 1

    def head(self, head: Head) -> None:
        match = _CONTENT_RANGE.fullmatch(head.find("Content-Range"))
        if match:
            start, end, size = (int(number) for number in match.groups())
            head.drop("Content-Range")
            head.headers["Content-Range"] = f"bytes {start + self.by}-{end + self.by}/{size + self.by}"


@dataclass
class ErrorInside(Fault):
    """A 200 whose body is an error, as S3 itself does for some requests. The ETag stays unless `etag` is off."""

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
    """A header gets lost on the way."""

    name: str

    def head(self, head: Head) -> None:
        head.drop(self.name)


async def first(chunks: Chunks, count: int) -> Chunks:
    """The first `count` bytes."""
    if count <= 0:
        return
    async for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


async def pieces(content: bytes, size: int = 65_536) -> Chunks:
    """Bytes as they would come from a socket."""
    for at in range(0, len(content), size):
        yield content[at : at + size]
