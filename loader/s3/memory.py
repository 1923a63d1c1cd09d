"""In-memory double of `S3Bucket` for tests, property machines and dry runs. Touches no disk and no network."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from loader.clock import StoreClock
from loader.errors import Code, WorldError
from loader.s3.interface import (
    BLOCK,
    NOT_MODIFIED,
    CorsRule,
    CorsRules,
    GetResult,
    Names,
    NotModified,
    ObjectInfo,
    RequestStats,
    SignedRequest,
    UnfinishedUpload,
    UploadedPart,
)
from loader.s3.multipart.memory import MemoryUpload, StoredUpload, receive_signed


def _now() -> datetime:
    return datetime.now(UTC)


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class _Stored(NamedTuple):
    body: bytes
    etag: str
    last_modified: datetime


class MemoryBody:
    """An open object, with the bytes it had when it was opened: `loader.s3.interface.Body`."""

    def __init__(self, stored: _Stored, start: int, end: int | None, requests: RequestStats) -> None:
        self.size: int | None = len(stored.body)
        self.start = start
        self.etag = stored.etag
        self.last_modified = stored.last_modified
        self._rest = memoryview(stored.body)[start:end]
        self._requests = requests
        self._aborted = False

    def read(self, limit: int = BLOCK) -> bytes:
        if self._aborted:
            raise WorldError(Code.NETWORK, "the read was aborted")
        block, self._rest = self._rest[:limit], self._rest[limit:]
        self._requests.receive(len(block))
        return bytes(block)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def abort(self) -> None:
        self._aborted = True

    def close(self) -> None:
        self._rest = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MemoryBucket:
    """A bucket in memory: `loader.s3.interface.Bucket`. ETags are MD5 sums, dates have whole seconds as in S3.

    `clock` and `etag` may be replaced. A listing counts one request per 1,000 objects and receives the bytes of names.
    """

    def __init__(
        self, name: str = "memory", clock: Callable[[], datetime] = _now, etag: Callable[[bytes], str] = _md5
    ) -> None:
        self.name = name
        self.requests = RequestStats()
        self.store_clock = StoreClock()
        self.clock = clock
        self.etag = etag
        self._objects: dict[str, _Stored] = {}
        self.uploads: dict[str, StoredUpload] = {}
        self._cors: CorsRules = []
        self._upload_ids = itertools.count(1)
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        keys = self._keys(prefix)
        for page in range(0, max(len(keys), 1), 1000):
            self.requests.count("list")
            self.store_clock.update(self.store_time())
            for key in keys[page : page + 1000]:
                stored = self._objects.get(key)
                if stored:
                    self.requests.receive(len(key.encode()))
                    yield ObjectInfo(key, len(stored.body), stored.etag, stored.last_modified)

    def list_prefixes(self, prefix: str = "") -> Names:
        self.requests.count("list")
        self.store_clock.update(self.store_time())
        below = (key[len(prefix) :].partition("/") for key in self._keys(prefix))
        names = list(dict.fromkeys(name for name, slash, _ in below if slash))
        self.requests.receive(sum(len(name.encode()) for name in names))
        return names

    def get(self, key: str, limit: int) -> GetResult | None:
        stored = self._look_up(key)
        return self._get_result(stored, limit) if stored else None

    def get_if_changed(self, key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        stored = self._look_up(key)
        if stored and stored.etag == etag:
            self.store_clock.update(self.store_time())
            return NOT_MODIFIED
        return self._get_result(stored, limit) if stored else None

    def _look_up(self, key: str) -> _Stored | None:
        self.requests.count("get")
        return self._objects.get(key)

    def _get_result(self, stored: _Stored, limit: int) -> GetResult:
        self.store_clock.update(at := self.store_time())
        body = stored.body[:limit]
        size = len(stored.body)
        self.requests.receive(len(body))
        return GetResult(body, stored.etag, stored.last_modified, size, truncated=size > len(body), server_time=at)

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> MemoryBody:
        self.requests.count("get")
        stored = self._find(key, "GET")
        if if_match not in (None, stored.etag) or (start and start >= len(stored.body)):
            raise WorldError(Code.OBJECT_CHANGED, f"GET {key}: the object has changed")
        return MemoryBody(stored, start, end, self.requests)

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        return self.store(key, bytes(body), self.etag(body), if_none_match=if_none_match, if_match=if_match)

    def store(self, key: str, body: bytes, etag: str, *, if_none_match: bool, if_match: str | None) -> str:
        """Write an object with the given ETag, on the conditions of `put`."""
        self.requests.count("put")
        new = _Stored(body, etag, self.store_time())
        with self._lock:
            old = self._objects.get(key)
            if if_match is not None and old is None:
                raise WorldError(Code.OBJECT_GONE, f"PUT {key}: the object does not exist")
            if old and (if_none_match or if_match not in (None, old.etag)):
                raise WorldError(Code.OBJECT_CHANGED, f"PUT {key}: the object has changed")
            self._objects[key] = new
        return new.etag

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        try:
            body = path.read_bytes()
        except OSError as error:
            raise WorldError(Code.IO_ERROR, f"PUT {key}: the file cannot be read ({error.strerror})") from error
        etag = self.put(key, body)
        if progress:
            progress(len(body))
        return etag

    def begin_upload(self, key: str, *, checksums: bool = False) -> MemoryUpload:
        self.requests.count("put")
        upload_id = f"upload-{next(self._upload_ids)}"
        self.uploads[upload_id] = StoredUpload(key, self.store_time(), checksums)
        return self.resume_upload(key, upload_id, checksums=checksums)

    def resume_upload(self, key: str, upload_id: str, *, checksums: bool = False) -> MemoryUpload:
        return MemoryUpload(self, key, upload_id, checksums=checksums)

    def send_signed(self, request: SignedRequest, body: bytes) -> UploadedPart:
        """Send a request of `sign_part`, as its client would. Raises WorldError: FORBIDDEN for another length."""
        return receive_signed(self, request, body)

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        self.requests.count("list")
        for upload_id, upload in sorted(self.uploads.items(), key=lambda found: found[1].key):
            if upload.key.startswith(prefix) and not upload.etag:
                yield UnfinishedUpload(upload.key, upload_id, upload.started_at)

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
        source = self._find(source_key, "copy")
        if if_match not in (None, source.etag) or len(source.body) != size:
            raise WorldError(Code.OBJECT_CHANGED, f"copy {source_key}: the object has changed")
        etag = self.store(key, source.body, source.etag, if_none_match=if_none_match, if_match=None)
        if progress and size:
            progress(size)
        return etag

    def get_cors(self) -> CorsRules:
        self.requests.count("list")
        return self._cors[:]

    def put_cors(self, rules: Sequence[CorsRule]) -> None:
        self.requests.count("put")
        self._cors = [*rules]

    def delete(self, key: str) -> None:
        self.requests.count("delete")
        with self._lock:
            self._objects.pop(key, None)

    def _keys(self, prefix: str) -> Names:
        with self._lock:
            return sorted((key for key in self._objects if key.startswith(prefix)), key=str.encode)

    def _find(self, key: str, method: str) -> _Stored:
        stored = self._objects.get(key)
        if stored is None:
            raise WorldError(Code.OBJECT_GONE, f"{method} {key}: the object does not exist")
        return stored

    def store_time(self) -> datetime:
        """Return the time of the store: UTC, in whole seconds."""
        return self.clock().replace(microsecond=0)
