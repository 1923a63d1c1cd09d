"""Multipart uploads of `loader.s3.memory.MemoryBucket`, with the rules and the errors of S3. Touches no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from loader.errors import Code, WorldError
from loader.s3.errors import PartsRefused, UploadGone, WrongChecksum
from loader.s3.http.payload import Payload, payload_blocks
from loader.s3.http.urls import quote_key, quote_query
from loader.s3.interface import MAX_SIGNATURE_TIME, SignedRequest, UploadedPart
from loader.s3.multipart.upload import SHA256_HEADER, check_signed_part
from loader.s3.part_plan import MIN_PART_SIZE, check_part_number, multipart_etag

if TYPE_CHECKING:
    from loader.s3.memory import MemoryBucket


class StoredPart(NamedTuple):
    """The bytes of a part and its ETag, which is an MD5 sum."""

    body: bytes
    etag: str


@dataclass
class StoredUpload:
    """Parts by number, and the ETag of the object once the upload is completed."""

    key: str
    started_at: datetime
    checksums: bool = False
    parts: dict[int, StoredPart] = field(default_factory=dict)
    etag: str = ""


class MemoryUpload:
    """A multipart upload into a `MemoryBucket`: `loader.s3.interface.MultipartUpload`."""

    def __init__(self, bucket: MemoryBucket, key: str, upload_id: str, *, checksums: bool = False) -> None:
        self.key, self.upload_id = key, upload_id
        self._bucket, self._checksums = bucket, checksums

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        check_part_number(number)
        content = b"".join(payload_blocks(body))
        part = self._store(number, content)
        if on_sent:
            on_sent(len(content))
        return part

    def sign_part(self, number: int, size: int, *, sha256: str = "", valid_for: float = 900.0) -> SignedRequest:
        check_signed_part(number, size, sha256)
        if not 1.0 <= valid_for <= MAX_SIGNATURE_TIME:
            raise ValueError(f"a signature must be valid for 1 to {MAX_SIGNATURE_TIME:,.0f} seconds")
        headers = {"Content-Length": str(size)} | ({SHA256_HEADER: sha256} if sha256 else {})
        query = quote_query({"uploadId": self.upload_id, "partNumber": str(number)})
        url = f"memory://{self._bucket.name}/{quote_key(self.key)}?{query}"
        return SignedRequest("PUT", url, headers, self._bucket.store_time() + timedelta(seconds=int(valid_for)))

    def copy_part(
        self,
        number: int,
        source_key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> UploadedPart:
        check_part_number(number)
        with self._bucket.open(source_key, if_match=if_match) as source:
            content = b"".join(iter(source.read, b""))
        if end is not None and not (start or 0) < end <= len(content):
            raise WorldError(Code.OBJECT_CHANGED, f"copy {source_key}: the object has changed")
        return self._store(number, content[start:end])

    def list_parts(self) -> list[UploadedPart]:
        self._bucket.requests.count("list")
        stored = sorted(self._open().parts.items())
        return [UploadedPart(number, part.etag, len(part.body)) for number, part in stored]

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

    def _store(self, number: int, content: bytes) -> UploadedPart:
        self._bucket.requests.count("put")
        part = StoredPart(content, hashlib.md5(content, usedforsecurity=False).hexdigest())
        self._open().parts[number] = part
        return UploadedPart(number, part.etag, len(content), _sha256(content) if self._checksums else "")

    def _open(self) -> StoredUpload:
        upload = self._bucket.uploads.get(self.upload_id)
        if upload is None or upload.etag:
            raise UploadGone(Code.OBJECT_GONE, f"PUT {self.key}: the upload was completed, aborted or has expired")
        return upload

    def _bodies(self, parts: Sequence[UploadedPart]) -> list[bytes]:
        upload = self._open()
        stored = [upload.parts.get(part.number) for part in parts]
        numbers = [part.number for part in parts]
        bodies = [found.body for found, part in zip(stored, parts, strict=True) if found and found.etag == part.etag]
        if len(bodies) < len(parts) or not numbers or numbers != sorted(set(numbers)):
            raise PartsRefused(Code.SIZE_MISMATCH, f"POST {self.key}: the store does not have these parts")
        if any(len(body) < MIN_PART_SIZE for body in bodies[:-1]):
            raise PartsRefused(Code.SIZE_MISMATCH, f"POST {self.key}: the store does not have these parts (too small)")
        if upload.checksums and [part.sha256 for part in parts] != [_sha256(body) for body in bodies]:
            raise PartsRefused(Code.SIZE_MISMATCH, f"POST {self.key}: the store refuses the checksums of these parts")
        return bodies


def receive_signed(bucket: MemoryBucket, request: SignedRequest, body: bytes) -> UploadedPart:
    """Take a part as a store does that a client sends a signed request to. Raises WorldError."""
    if bucket.store_time() > request.expires_at or len(body) != int(request.headers["Content-Length"]):
        raise WorldError(Code.FORBIDDEN, "PUT of a part: access denied (403)")
    sha256 = request.headers.get(SHA256_HEADER)
    if sha256 and sha256 != _sha256(body):
        raise WrongChecksum(Code.NETWORK, "PUT of a part: unexpected response 400 BadDigest")
    query = parse_qs(urlsplit(request.url).query)
    (upload_id,), (number,) = query["uploadId"], query["partNumber"]
    return bucket.resume_upload("", upload_id).put_part(int(number), body)


def _sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
