"""Interface of a bucket: its methods and the values they return. Types only; imports nothing slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from loader.clock import StoreClock
from loader.frozen import frozen
from loader.s3.http.payload import Payload

BLOCK: Final = 262_144  # bytes; a larger buffer is not faster, a smaller one costs CPU
MAX_SIGNATURE_TIME: Final = 12 * 3600.0  # seconds that a signed request is valid
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
    """A part in the store. `etag` without quotes, `size` in bytes.

    `sha256`: of the part in base64, "" if unknown; an upload with checksums is completed only with it. Not every store
    lists it.
    """

    number: int
    etag: str
    size: int
    sha256: str = ""


@frozen
class SignedRequest:
    """A request that anyone may send to the store until `expires_at` (UTC), without credentials.

    `headers`: those that the client must send as they are. Browsers and most libraries set Content-Length themselves.
    `url` contains the signature: it must not be logged.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]
    expires_at: datetime


@frozen
class UnfinishedUpload:
    """A multipart upload that was begun at `started_at` (UTC), and neither completed nor aborted."""

    key: str
    upload_id: str
    started_at: datetime


@frozen
class CorsRule:
    """What a bucket permits to pages of these origins: methods, headers of a request, `exposed` headers of a response.

    Origins and headers may contain one `*`. `max_age`: seconds that a browser may remember the rule; 0: its default.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: int = 0


CorsRules = list[CorsRule]


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

    def sign_part(self, number: int, size: int, *, sha256: str = "", valid_for: float = 900.0) -> SignedRequest:
        """Sign a PUT of part `number` with exactly `size` bytes, for a client that has no credentials.

        `sha256`: of the part in base64; the store then refuses another body, if it supports checksums. `valid_for`:
        seconds, at most MAX_SIGNATURE_TIME; shorter if the credentials expire before. Sends nothing. Raises ValueError.
        """

    def list_parts(self) -> list[UploadedPart]:
        """Return every part in the store, sorted by number; of a part that was sent twice the last one."""

    def copy_part(
        self,
        number: int,
        source_key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> UploadedPart:
        """Make part `number` of an object in the same bucket, or of its bytes from `start` to before `end`.

        No byte passes this machine. Raises OBJECT_GONE if the source does not exist, OBJECT_CHANGED if its ETag is not
        `if_match` or it ends before `end`.
        """

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

    def begin_upload(self, key: str, *, checksums: bool = False) -> MultipartUpload:
        """Begin a multipart upload that creates the object `key` when it is completed.

        `checksums`: the store verifies the SHA-256 of each part, and `complete` needs that of every part.
        """

    def resume_upload(self, key: str, upload_id: str, *, checksums: bool = False) -> MultipartUpload:
        """Attach to an existing multipart upload without sending anything. `checksums`: as it was begun."""

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield the multipart uploads below `prefix` that were neither completed nor aborted."""

    def copy(
        self,
        source_key: str,
        key: str,
        *,
        size: int,
        if_match: str | None = None,
        if_none_match: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Copy an object of any size inside the store and return the ETag of the copy, which may be another one.

        `progress` gets the bytes copied since its last call, from several threads but one at a time. Raises
        OBJECT_GONE if the source does not exist; OBJECT_CHANGED if it does not have `size` bytes and the ETag
        `if_match`, or changes while it is copied, or, with `if_none_match`, if `key` exists.
        """

    def delete(self, key: str) -> None:
        """Delete the object; succeeds if it does not exist."""

    def get_cors(self) -> CorsRules:
        """Return the CORS rules of the bucket, an empty list without any; stores then differ in what they permit."""

    def put_cors(self, rules: Sequence[CorsRule]) -> None:
        """Replace all CORS rules of the bucket."""
