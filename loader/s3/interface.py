"""Interface of a bucket: its methods and the values they return. Types only; imports nothing slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from loader.clock import StoreClock
from loader.frozen import frozen
from loader.s3.http.payload import Payload

BLOCK: Final = 262_144  # bytes; a larger buffer is not faster, a smaller one costs CPU
RequestKind = Literal["list", "get", "put", "delete"]
Names = list[str]  # in the class of a bucket, `list` is the method


@dataclass(slots=True)
class ObjectInfo:
    """One entry of a listing. `size` in bytes, `etag` without quotes ("" if it has none), `last_modified` in UTC.

    Not frozen: a frozen one takes three times as long to create, and a listing may create a million.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


@frozen
class GetResult:
    """A small object. `size` is that of the complete object in bytes; `truncated`: `body` was cut at the limit.

    `server_time`: the store's clock when it responded, None if the response has no date.
    """

    body: bytes
    etag: str
    last_modified: datetime
    size: int
    truncated: bool
    server_time: datetime | None = None


class NotModified(Enum):
    """The object still has the given ETag."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED


@dataclass
class RequestStats:
    """Number of HTTP requests sent, including retries, and bytes received in the bodies of listings and gets."""

    list: int = 0
    get: int = 0
    put: int = 0
    delete: int = 0
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, kind: RequestKind) -> None:
        """Count a request, from any thread."""
        with self._lock:
            setattr(self, kind, getattr(self, kind) + 1)

    def receive(self, count: int) -> None:
        """Count `count` bytes of a body, from any thread."""
        with self._lock:
            self.received += count


class Body(Protocol):
    """An open object. Reads raise WorldError: SHORT_BODY if it ends early, TIMEOUT, NETWORK.

    `size` is that of the complete object in bytes, None if the store does not send it. `start` is the offset of the
    first byte read: 0 if the store ignored the requested range.
    """

    size: int | None
    start: int
    etag: str
    last_modified: datetime

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read what arrives soon into `buffer`, at least one byte. Return the count, 0 at the end."""

    def read(self, limit: int = BLOCK) -> bytes:
        """Return at most `limit` bytes as they arrive; empty at the end."""

    def abort(self) -> None:
        """Make a read that waits in another thread raise."""

    def close(self) -> None:
        """Return the connection to its pool, or close it if bytes are left."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


@frozen
class UploadedPart:
    """A part in the store. `etag` without quotes, `size` in bytes."""

    number: int
    etag: str
    size: int


class MultipartUpload(Protocol):
    """An object sent in parts, in any order and by any number of threads. It is not visible before `complete`.

    Every part but the last has at least MIN_PART_SIZE bytes. Parts stay in the store, and are billed, until `complete`
    or `abort`. Methods raise WorldError, UploadGone if the upload does not exist (any more).
    """

    key: str
    upload_id: str

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        """Send part `number` (1 to MAX_PARTS), replacing an earlier one of that number.

        `on_sent` gets the bytes of the part sent so far, starting from 0 with each attempt.
        """

    def list_parts(self) -> list[UploadedPart]:
        """Return every part in the store, sorted by number."""

    def complete(
        self, parts: Sequence[UploadedPart], *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        """Create the object from these parts and return its ETag; succeeds, too, if an earlier call already did.

        Raises PartsRefused if the store does not have these parts, OBJECT_CHANGED as `Bucket.put` does.
        """

    def abort(self) -> None:
        """Delete the upload and its parts. The store may keep a part that was in flight: abort again after it."""


class Bucket(Protocol):
    """A bucket. Every method may raise WorldError, NoSuchBucket if the bucket itself does not exist.

    `store_clock` gets the Date header of every valid response to `list`, `list_prefixes`, `get` and `get_if_changed`.
    """

    name: str
    requests: RequestStats
    store_clock: StoreClock

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object below `prefix`, in no guaranteed order. Never ends early without an error."""

    def list_prefixes(self, prefix: str = "") -> Names:
        """Return the names of the folders directly below `prefix`, without the prefix and the slash.

        SeaweedFS still lists a folder whose objects are all deleted.
        """

    def get(self, key: str, limit: int) -> GetResult | None:
        """Return the first `limit` bytes (at least 1), or None if the object does not exist."""

    def get_if_changed(self, key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        """Return the same as `get`, or NOT_MODIFIED if the object still has this ETag."""

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Body:
        """Open the object from byte `start` to before byte `end`, in one attempt.

        Raises OBJECT_GONE if it does not exist, OBJECT_CHANGED if its ETag is not `if_match`. A store that ignores
        ranges sends the complete object: check `Body.start`.
        """

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        """Write a small object and return its ETag. Raises OBJECT_CHANGED if a condition does not hold."""

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        """Write a file of any size and return its ETag. `progress` gets the bytes sent since its last call."""

    def begin_upload(self, key: str) -> MultipartUpload:
        """Begin a multipart upload that creates the object `key` when it is completed."""

    def resume_upload(self, key: str, upload_id: str) -> MultipartUpload:
        """Attach to an existing multipart upload without sending anything."""

    def delete(self, key: str) -> None:
        """Delete the object; succeeds if it does not exist."""
