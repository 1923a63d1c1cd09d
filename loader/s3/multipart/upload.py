"""One multipart upload of an S3: an object made of parts, resumable from another process.

The store keeps an upload under its id: parts arrive in any order and stay until the upload is completed or aborted;
`list_parts` is authoritative. The response to `complete` may get lost after the object was created; its ETag, which
follows from those of the parts, then proves it. Opens sockets through `transport`.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from loader.errors import Code, WorldError
from loader.s3.errors import InvalidRequest, PartsRefused, S3ErrorResponse, UploadGone, WrongChecksum
from loader.s3.etags import etag_text, parse_etag
from loader.s3.http.headers import write_condition
from loader.s3.http.payload import Payload, payload_digests, payload_size
from loader.s3.http.responses import etag_of
from loader.s3.http.transport import FIRST_RETRY_WAIT, MAX_RETRY_WAIT, S3Request, S3Transport
from loader.s3.http.urls import quote_key, quote_query
from loader.s3.http.xml import local_name, namespace
from loader.s3.interface import SignedRequest, UploadedPart
from loader.s3.listing import parse_time
from loader.s3.multipart.responses import optional_text, parse_response, required_number, required_text
from loader.s3.part_plan import MAX_PART_SIZE, check_part_number, multipart_etag
from loader.s3.retry import Backoff

PART_ATTEMPTS: Final = 5
COMPLETE_ATTEMPTS: Final = 5
COMPLETE_PATIENCE: Final = 600.0  # seconds; AWS sends blanks while it assembles a large object
COPY_PATIENCE: Final = 300.0  # seconds without a byte: some stores send nothing before they copied the complete part
RESPONSE_LIMIT: Final = 1_048_576  # bytes; a page of 1,000 parts takes about 300 KiB with every checksum
SHA256_HEADER: Final = "x-amz-checksum-sha256"
_CHECKSUMS: Final = {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"}
_LISTINGS: Final = ("ListPartsResult", "ListPartsResponse")  # the second is moto's
_TRANSIENT: Final = frozenset({"InternalError", "ServiceUnavailable", ""})
_SHA256: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_LONG_AGO: Final = "1970-01-01T00:00:00Z"


class S3MultipartUpload:
    """A multipart upload of an S3: `loader.s3.interface.MultipartUpload`. `checksums`: `put_part` sends SHA-256."""

    def __init__(self, transport: S3Transport, key: str, upload_id: str, *, checksums: bool = False) -> None:
        self.key, self.upload_id = key, upload_id
        self._transport, self._checksums = transport, checksums

    @classmethod
    def begin(cls, transport: S3Transport, key: str, *, checksums: bool = False) -> Self:
        """Begin an upload. If the response is lost, the upload of the first attempt remains, without parts."""
        name = f"begin upload of {key}"
        headers = _CHECKSUMS if checksums else {}
        request = S3Request("put", "POST", key, headers, query="uploads=", limit=RESPONSE_LIMIT, name=name)
        root = parse_response(transport.call(request).body, ("InitiateMultipartUploadResult",), name)
        return cls(transport, key, required_text(root, "UploadId", name), checksums=checksums)

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        check_part_number(number)
        name = f"PUT part {number} of {self.key}"
        digests = payload_digests(body)  # once, not for each attempt
        sha256 = base64.b64encode(bytes.fromhex(digests.sha256)).decode() if self._checksums else ""
        request = S3Request(
            "put",
            "PUT",
            self.key,
            {SHA256_HEADER: sha256} if sha256 else {},
            query=self._part_query(number),
            body=body,
            name=name,
            digests=digests,
            streamed=True,
            on_sent=on_sent,
        )
        response = self._transport.call(request, PART_ATTEMPTS)
        return UploadedPart(number, etag_text(etag_of(response.headers, name)), payload_size(body), sha256)

    def sign_part(self, number: int, size: int, *, sha256: str = "", valid_for: float = 900.0) -> SignedRequest:
        check_signed_part(number, size, sha256)
        headers = {"Content-Length": str(size)} | ({SHA256_HEADER: sha256} if sha256 else {})
        return self._transport.presign("PUT", self.key, self._part_query(number), headers, valid_for)

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
        name = f"copy part {number} of {self.key} from {source_key}"
        first = start or 0
        if end is None:  # the response does not say how much was copied
            end, found = object_size(self._transport, source_key, if_match)
            if_match = if_match or found
            # AWS takes no range of a small object, so none is sent where the part is the complete object.
            copied = "" if first == 0 else f"bytes={first}-{end - 1}"
        else:
            copied = f"bytes={first}-{end - 1}"
        headers = {"x-amz-copy-source": f"/{quote_key(self._transport.bucket)}/{quote_key(source_key)}"}
        if copied:
            headers["x-amz-copy-source-range"] = copied
        if if_match is not None:
            headers["x-amz-copy-source-if-match"] = _strong(if_match)
        request = S3Request(
            "put",
            "PUT",
            self.key,
            headers,
            query=self._part_query(number),
            limit=RESPONSE_LIMIT,
            name=name,
            patience=COPY_PATIENCE,
            read_timeout=COPY_PATIENCE,
        )
        root = self._transport.repeat(lambda: self._result(request, "CopyPartResult"), PART_ATTEMPTS)
        etag = etag_text(parse_etag(required_text(root, "ETag", name)))
        return UploadedPart(number, etag, end - first, optional_text(root, "ChecksumSHA256"))

    def list_parts(self) -> list[UploadedPart]:
        # SeaweedFS lists a part that was sent twice twice.
        listed = sorted(
            (part for page in self._part_pages() for part in page), key=lambda found: (found[1].number, found[0])
        )
        return list({part.number: part for _, part in listed}.values())

    def complete(
        self, parts: Sequence[UploadedPart], *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        request = S3Request(
            "put",
            "POST",
            self.key,
            write_condition(if_none_match=if_none_match, if_match=if_match),
            query=self._query(),
            body=_completion(parts),
            limit=RESPONSE_LIMIT,
            name=f"complete upload of {self.key}",
            patience=COMPLETE_PATIENCE,
        )
        backoff = Backoff(COMPLETE_ATTEMPTS, FIRST_RETRY_WAIT, MAX_RETRY_WAIT)
        while True:
            try:
                return self._completed_etag(request)
            except WorldError as error:
                sent_before = backoff.failures > 0
                delay = self._transport.retry_delay(error, backoff)
                # This attempt, an earlier one, or an earlier process may have created the object.
                unknown = not error.permanent or isinstance(error, UploadGone) or backoff.failures > 0
                if unknown and delay is None and (etag := self._find_completed(parts, sent_before=sent_before)):
                    return etag
                if delay is None:
                    raise
            self._transport.wait(delay)

    def abort(self) -> None:
        name = f"abort upload of {self.key}"
        request = S3Request("delete", "DELETE", self.key, {}, query=self._query(), accept=(200, 204), name=name)
        with contextlib.suppress(UploadGone):
            self._transport.call(request)

    def _query(self, **values: str) -> str:
        return quote_query({"uploadId": self.upload_id, **values})

    def _part_query(self, number: int) -> str:
        return self._query(partNumber=str(number))

    def _part_pages(self) -> Iterator[list[tuple[datetime, UploadedPart]]]:
        marker, name = 0, f"list parts of {self.key}"
        while True:
            query = self._query(**{"max-parts": "1000", "part-number-marker": str(marker)})
            request = S3Request("list", "GET", self.key, {}, query=query, limit=RESPONSE_LIMIT, name=name)
            root = parse_response(self._transport.call(request).body, _LISTINGS, name)
            yield [_listed_part(element, name) for element in root.iter(f"{namespace(root)}Part")]
            if required_text(root, "IsTruncated", name) != "true":
                return
            last, marker = marker, required_number(root, "NextPartNumberMarker", name)
            if marker <= last:
                raise WorldError(Code.NETWORK, f"{name}: the store repeats a page")

    def _completed_etag(self, request: S3Request) -> str:
        try:
            root = self._result(request, "CompleteMultipartUploadResult")
        except (InvalidRequest, WrongChecksum) as error:
            text = f"{request}: the store refuses the checksums of these parts"
            raise PartsRefused(Code.SIZE_MISMATCH, text) from error
        return parse_etag(required_text(root, "ETag", str(request)))

    def _result(self, request: S3Request, expected: str) -> ElementTree.Element:
        """Send in one attempt. AWS sends 200 before it knows the result: the body may still be an error."""
        name, body = str(request), self._transport.call(request, 1).body
        root = parse_response(body, (expected, "Error"), name)
        if local_name(root) == "Error":
            refusal = S3ErrorResponse.from_response(500, {}, body)
            if refusal.s3_code not in _TRANSIENT:
                refusal = replace(refusal, status=400)
            raise refusal.to_error(name, self._transport.bucket, datetime.now(UTC))
        return root

    def _find_completed(self, parts: Sequence[UploadedPart], *, sent_before: bool) -> str:
        """Return the ETag of the object if this upload created it, else ""."""
        expected = multipart_etag([part.etag for part in parts])
        try:
            headers = self._transport.call(S3Request("get", "HEAD", self.key, {})).object_headers
        except WorldError:
            return ""
        if headers is None:
            return ""
        if expected:
            return expected if etag_text(headers.etag).lower() == expected else ""
        # The parts do not determine the ETag (KMS, copies of objects in parts): an upload that is gone after a request
        # to complete it was sent created the object, if that has this size.
        made = sent_before and headers.size == sum(part.size for part in parts) and self._is_gone()
        return headers.etag if made else ""

    def _is_gone(self) -> bool:
        try:
            self.list_parts()
        except WorldError as error:
            return isinstance(error, UploadGone)
        return False


def object_size(transport: S3Transport, key: str, if_match: str | None) -> tuple[int, str]:
    """Return size and ETag of an object. Raises WorldError: OBJECT_GONE, OBJECT_CHANGED if its ETag is another one."""
    condition = {} if if_match is None else {"If-Match": _strong(if_match)}
    headers = transport.call(S3Request("get", "HEAD", key, condition)).object_headers
    if headers is None or headers.size is None:
        raise WorldError(Code.NETWORK, f"HEAD {key}: the response has no size")
    return headers.size, headers.etag


def _strong(etag: str) -> str:
    """Return the ETag for a condition as the store itself writes it: a proxy may have made it a weak one."""
    return f'"{etag_text(etag)}"'


def check_signed_part(number: int, size: int, sha256: str) -> None:
    """Raise ValueError unless these can belong to a part. `sha256`: base64, or ""."""
    check_part_number(number)
    if not 0 <= size <= MAX_PART_SIZE:
        raise ValueError(f"a part must have 0 to {MAX_PART_SIZE:,} bytes, not {size:,}")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError("the SHA-256 of a part must be 32 bytes in base64")


def _completion(parts: Collection[UploadedPart]) -> bytes:
    opening = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{opening}{''.join(map(_completion_part, parts))}</CompleteMultipartUpload>".encode()


def _completion_part(part: UploadedPart) -> str:
    checksum = f"<ChecksumSHA256>{escape(part.sha256)}</ChecksumSHA256>" if part.sha256 else ""
    etag = f"<ETag>&quot;{escape(part.etag)}&quot;</ETag>"
    return f"<Part><PartNumber>{part.number}</PartNumber>{etag}{checksum}</Part>"


def _listed_part(element: ElementTree.Element, what: str) -> tuple[datetime, UploadedPart]:
    """Return a part and the time when it was written. Raises WorldError."""
    number, size = (required_number(element, name, what) for name in ("PartNumber", "Size"))
    etag = etag_text(parse_etag(required_text(element, "ETag", what)))
    try:
        at = parse_time(optional_text(element, "LastModified") or _LONG_AGO)
    except ValueError as error:
        raise WorldError(Code.NETWORK, f"{what}: the response has an invalid date") from error
    return at, UploadedPart(number, etag, size, optional_text(element, "ChecksumSHA256"))
