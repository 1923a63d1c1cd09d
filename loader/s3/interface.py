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
from loader.s3.http.payload import Payload

BLOCK: Final = 262_144  # bytes; a larger buffer gains nothing, a smaller one costs CPU
RequestKind = Literal["list", "get", "put", "delete"]
Names = list[str]  # inside a bucket, `list` is the method


@dataclass(slots=True)
class ObjectInfo:
    """One line of a listing. `size` in bytes, `etag` without quotes, `last_modified` in UTC.

    Not frozen only because that takes three times as long to make, and a million may be made in one listing.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class GetResult:
    """A small object. `size` is that of the whole object in bytes; `truncated`: the body stopped at the limit.

    `server_time`: the store's clock when it answered, None where it does not tell.
    """

    body: bytes
    etag: str
    last_modified: datetime
    size: int
    truncated: bool
    server_time: datetime | None = None


class NotModified(Enum):
    """The object still has the ETag that was asked about."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED


@dataclass
class RequestStats:
    """How many HTTP requests were sent, retries included, and how many bytes of bodies lists and gets brought."""

    list: int = 0
    get: int = 0
    put: int = 0
    delete: int = 0
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, kind: RequestKind) -> None:
        """One more of `kind`, from any thread."""
        with self._lock:
            setattr(self, kind, getattr(self, kind) + 1)

    def receive(self, count: int) -> None:
        """So many bytes more of an answer's body, from any thread."""
        with self._lock:
            self.received += count


class Body(Protocol):
    """An object on its way. Reads raise WorldError: SHORT_BODY if it ends early, TIMEOUT, NETWORK.

    `size` is that of the whole object in bytes, None where the store does not say; `start` is the offset of the first
    byte that will be read: 0 unless the store really answered from the offset asked for.
    """

    size: int | None
    start: int
    etag: str
    last_modified: datetime

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill as much of `buffer` as arrives soon, at least a byte; 0 at the end."""

    def read(self, limit: int = BLOCK) -> bytes:
        """At most `limit` bytes, as they arrive; empty at the end."""

    def abort(self) -> None:
        """End a read that waits in another thread: it raises."""

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part the store holds. `etag` without quotes, `size` in bytes."""

    number: int
    etag: str
    size: int


class MultipartUpload(Protocol):
    """An object sent in parts, in any order and by any number of threads; nothing of it is visible until `complete`.

    Every part but the last has at least MIN_PART_SIZE bytes. Parts stay in the store, and are paid for, until
    `complete` or `abort`. Methods raise WorldError, UploadGone where the store does not know the upload (any more).
    """

    key: str
    upload_id: str

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        """Send part `number` (from 1 to MAX_PARTS), over an earlier one of that number.

        `on_sent` hears how many bytes of the part were sent so far; it starts again from 0 with another attempt.
        """

    def list_parts(self) -> list[UploadedPart]:
        """Return every part the store holds, by number."""

    def complete(
        self, parts: Sequence[UploadedPart], *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        """Make the object of these parts and return its ETag; also if an earlier `complete` already did.

        Raises PartsRefused where the store does not hold these parts, OBJECT_CHANGED as `Bucket.put` does.
        """

    def abort(self) -> None:
        """Drop the upload and its parts. A part still on its way may be kept by the store: abort again after it."""


class Bucket(Protocol):
    """A bucket. Every method may raise WorldError, NoSuchBucket where the bucket itself is missing.

    `store_clock` hears the Date of what `list`, `list_prefixes` and the `get`s are answered, if that is a store's.
    """

    name: str
    requests: RequestStats
    store_clock: StoreClock

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below `prefix`, in no order one may rely on. Never ends early without an error."""

    def list_prefixes(self, prefix: str = "") -> Names:
        """The names directly below `prefix` with something below them, without it and the slash.

        SeaweedFS still names one whose objects are all deleted.
        """

    def get(self, key: str, limit: int) -> GetResult | None:
        """Return the first `limit` bytes (at least 1), or None if there is no such object."""

    def get_if_changed(self, key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        """Return what `get` would, or NOT_MODIFIED if the object still has this ETag."""

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Body:
        """The object from byte `start` on, to before byte `end` if given, in one attempt.

        OBJECT_GONE if there is none, OBJECT_CHANGED if its ETag is not `if_match`. A store that ignores ranges sends
        everything: look at `start`.
        """

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        """Write a small object and return its ETag; OBJECT_CHANGED if it must not exist but does, or has changed."""

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        """Write a file of any size and return its ETag. `progress` hears how many bytes more were sent."""

    def begin_upload(self, key: str) -> MultipartUpload:
        """Begin a multipart upload, to become the object `key` once it is completed."""

    def resume_upload(self, key: str, upload_id: str) -> MultipartUpload:
        """Attach to a multipart upload that was begun before. Nothing is sent yet."""

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
