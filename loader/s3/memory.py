"""In-memory double of `S3Bucket` for tests, property machines and dry runs. Touches no disk and no network."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from loader.clock import StoreClock
from loader.errors import Code, WorldError
from loader.s3.errors import PartsRefused, UploadGone
from loader.s3.http.payload import Payload, payload_blocks
from loader.s3.interface import (
    BLOCK,
    NOT_MODIFIED,
    GetResult,
    Names,
    NotModified,
    ObjectInfo,
    RequestStats,
    UploadedPart,
)
from loader.s3.part_plan import MIN_PART_SIZE, check_part_number, multipart_etag


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


@dataclass
class _StoredUpload:
    """Parts by number, and the ETag of the object once the upload is completed."""

    parts: dict[int, bytes] = field(default_factory=dict)
    etag: str = ""


class MemoryUpload:
    """A multipart upload into a `MemoryBucket`: `loader.s3.interface.MultipartUpload`."""

    def __init__(self, bucket: MemoryBucket, key: str, upload_id: str) -> None:
        self.key, self.upload_id = key, upload_id
        self._bucket = bucket

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        check_part_number(number)
        self._bucket.requests.count("put")
        content = b"".join(payload_blocks(body))
        self._open().parts[number] = content
        if on_sent:
            on_sent(len(content))
        return UploadedPart(number, _md5(content), len(content))

    def list_parts(self) -> list[UploadedPart]:
        self._bucket.requests.count("list")
        return [UploadedPart(number, _md5(body), len(body)) for number, body in sorted(self._open().parts.items())]

    def complete(
        self, parts: Sequence[UploadedPart], *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        upload = self._bucket.uploads.get(self.upload_id)
        if upload and upload.etag:
            return upload.etag
        bodies = self._bodies(parts)
        etag = multipart_etag([part.etag for part in parts])
        upload = self._open()
        self._bucket.store(self.key, b"".join(bodies), etag, if_none_match=if_none_match, if_match=if_match)
        upload.parts, upload.etag = {}, etag
        return etag

    def abort(self) -> None:
        self._bucket.requests.count("delete")
        self._bucket.uploads.pop(self.upload_id, None)

    def _open(self) -> _StoredUpload:
        upload = self._bucket.uploads.get(self.upload_id)
        if upload is None or upload.etag:
            raise UploadGone(Code.OBJECT_GONE, f"PUT {self.key}: the upload was completed, aborted or has expired")
        return upload

    def _bodies(self, parts: Sequence[UploadedPart]) -> list[bytes]:
        stored = self._open().parts
        bodies = [stored.get(part.number, b"") for part in parts]
        numbers = [part.number for part in parts]
        known = all(_md5(body) == part.etag for body, part in zip(bodies, parts, strict=True))
        if not known or not numbers or numbers != sorted(set(numbers)):
            raise PartsRefused(Code.SIZE_MISMATCH, f"POST {self.key}: the store does not have these parts")
        if any(len(body) < MIN_PART_SIZE for body in bodies[:-1]):
            raise PartsRefused(Code.SIZE_MISMATCH, f"POST {self.key}: the store does not have these parts (too small)")
        return bodies


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
        self.uploads: dict[str, _StoredUpload] = {}
        self._upload_ids = itertools.count(1)
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        keys = self._keys(prefix)
        for page in range(0, max(len(keys), 1), 1000):
            self.requests.count("list")
            self.store_clock.update(self._time())
            for key in keys[page : page + 1000]:
                stored = self._objects.get(key)
                if stored:
                    self.requests.receive(len(key.encode()))
                    yield ObjectInfo(key, len(stored.body), stored.etag, stored.last_modified)

    def list_prefixes(self, prefix: str = "") -> Names:
        self.requests.count("list")
        self.store_clock.update(self._time())
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
            self.store_clock.update(self._time())
            return NOT_MODIFIED
        return self._get_result(stored, limit) if stored else None

    def _look_up(self, key: str) -> _Stored | None:
        self.requests.count("get")
        return self._objects.get(key)

    def _get_result(self, stored: _Stored, limit: int) -> GetResult:
        self.store_clock.update(at := self._time())
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
        new = _Stored(body, etag, self._time())
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

    def begin_upload(self, key: str) -> MemoryUpload:
        self.requests.count("put")
        upload_id = f"upload-{next(self._upload_ids)}"
        self.uploads[upload_id] = _StoredUpload()
        return self.resume_upload(key, upload_id)

    def resume_upload(self, key: str, upload_id: str) -> MemoryUpload:
        return MemoryUpload(self, key, upload_id)

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

    def _time(self) -> datetime:
        return self.clock().replace(microsecond=0)
