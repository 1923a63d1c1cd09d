"""Multipart uploads: an object sent in parts, resumable from another process, and complete files.

The store keeps an upload under its id: parts arrive in any order and stay until the upload is completed or aborted;
`list_parts` is authoritative. The response to `complete` may get lost after the object was created; its ETag, which
follows from those of the parts, then proves it. Reads the file that is sent, opens sockets through `transport`.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from loader.errors import Code, Stopped, WorldError
from loader.s3.errors import S3ErrorResponse, UploadGone
from loader.s3.etags import etag_text, parse_etag
from loader.s3.http.headers import write_condition
from loader.s3.http.payload import FileSlice, Payload, payload_digests, payload_size
from loader.s3.http.responses import etag_of
from loader.s3.http.transport import FIRST_RETRY_WAIT, MAX_RETRY_WAIT, S3Request, S3Transport
from loader.s3.http.urls import quote_query
from loader.s3.http.xml import local_name, namespace, parse_root
from loader.s3.interface import UploadedPart
from loader.s3.part_plan import PART_SIZE, PartRange, check_part_number, multipart_etag, plan_parts
from loader.s3.retry import Backoff

THREADS: Final = 10  # parts of one file at a time
PART_ATTEMPTS: Final = 5
COMPLETE_ATTEMPTS: Final = 5
COMPLETE_PATIENCE: Final = 600.0  # seconds; AWS sends blanks while it assembles a large object
_RESPONSE_LIMIT: Final = 1_048_576  # bytes; a page of 1,000 parts takes about 300 KiB with every checksum
_LISTINGS: Final = ("ListPartsResult", "ListPartsResponse")  # the second is moto's
_TRANSIENT: Final = frozenset({"InternalError", "ServiceUnavailable", ""})


class S3MultipartUpload:
    """A multipart upload of an S3: `loader.s3.interface.MultipartUpload`."""

    def __init__(self, transport: S3Transport, key: str, upload_id: str) -> None:
        self.key, self.upload_id = key, upload_id
        self._transport = transport

    @classmethod
    def begin(cls, transport: S3Transport, key: str) -> Self:
        """Begin an upload. If the response is lost, the upload of the first attempt remains, without parts."""
        name = f"begin upload of {key}"
        request = S3Request("put", "POST", key, {}, query="uploads=", limit=_RESPONSE_LIMIT, name=name)
        root = _parse(transport.call(request).body, ("InitiateMultipartUploadResult",), name)
        return cls(transport, key, _text(root, "UploadId", name))

    def put_part(self, number: int, body: Payload, *, on_sent: Callable[[int], None] | None = None) -> UploadedPart:
        check_part_number(number)
        name = f"PUT part {number} of {self.key}"
        request = S3Request(
            "put",
            "PUT",
            self.key,
            {},
            query=self._query(partNumber=str(number)),
            body=body,
            name=name,
            digests=payload_digests(body),  # once, not for each attempt
            streamed=True,
            on_sent=on_sent,
        )
        response = self._transport.call(request, PART_ATTEMPTS)
        return UploadedPart(number, etag_text(etag_of(response.headers, name)), payload_size(body))

    def list_parts(self) -> list[UploadedPart]:
        parts = [part for page in self._part_pages() for part in page]
        return sorted(parts, key=lambda part: part.number)

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
            limit=_RESPONSE_LIMIT,
            name=f"complete upload of {self.key}",
            patience=COMPLETE_PATIENCE,
        )
        backoff = Backoff(COMPLETE_ATTEMPTS, FIRST_RETRY_WAIT, MAX_RETRY_WAIT)
        expected = multipart_etag([part.etag for part in parts])
        while True:
            try:
                return self._completed_etag(request)
            except WorldError as error:
                delay = self._transport.retry_delay(error, backoff)
                # This attempt, an earlier one, or an earlier process may have created the object.
                unknown = not error.permanent or isinstance(error, UploadGone) or backoff.failures > 0
                if unknown and delay is None and self._is_completed(expected):
                    return expected
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

    def _part_pages(self) -> Iterator[list[UploadedPart]]:
        marker, name = 0, f"list parts of {self.key}"
        while True:
            query = self._query(**{"max-parts": "1000", "part-number-marker": str(marker)})
            request = S3Request("list", "GET", self.key, {}, query=query, limit=_RESPONSE_LIMIT, name=name)
            root = _parse(self._transport.call(request).body, _LISTINGS, name)
            yield [_part(element, name) for element in root.iter(f"{namespace(root)}Part")]
            if _text(root, "IsTruncated", name) != "true":
                return
            last, marker = marker, _number(_text(root, "NextPartNumberMarker", name), name)
            if marker <= last:
                raise WorldError(Code.NETWORK, f"{name}: the store repeats a page")

    def _completed_etag(self, request: S3Request) -> str:
        """Complete in one attempt. AWS sends 200 before it knows the result: the body may still be an error."""
        name, body = str(request), self._transport.call(request, 1).body
        root = _parse(body, ("CompleteMultipartUploadResult", "Error"), name)
        if local_name(root) == "Error":
            refusal = S3ErrorResponse.from_response(500, {}, body)
            if refusal.s3_code not in _TRANSIENT:
                refusal = replace(refusal, status=400)
            raise refusal.to_error(name, self._transport.bucket, datetime.now(UTC))
        return parse_etag(_text(root, "ETag", name))

    def _is_completed(self, etag: str) -> bool:
        """Whether the object has this ETag; never for "", where the parts do not determine it (KMS)."""
        try:
            headers = self._transport.call(S3Request("get", "HEAD", self.key, {})).object_headers
        except WorldError:
            return False
        return headers is not None and etag_text(headers.etag).lower() == etag


def upload_file(transport: S3Transport, key: str, path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Write a file of any size and return its ETag. Large files are sent in parts, several at a time.

    `progress` gets the bytes sent since its last call, from several threads but one at a time. Its exceptions and an
    interrupt end the upload and delete its parts. Raises WorldError.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size >= PART_SIZE:
                return _FileUpload(transport, key, file.fileno(), size, progress).run()
            body = FileSlice(file.fileno(), 0, size)
            counted = _Progress(progress).of_one_part()
            request = S3Request("put", "PUT", key, {}, body=body, digests=payload_digests(body), on_sent=counted)
            return etag_of(transport.call(request, PART_ATTEMPTS).headers, str(request))
    except OSError as error:
        raise WorldError(Code.IO_ERROR, f"PUT {key}: the file cannot be read ({error.strerror})") from error


class _Progress:
    """Reports the bytes that several parts have sent; bytes of a retry are not counted twice."""

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report, self._lock = report, threading.Lock()

    def of_one_part(self) -> Callable[[int], None]:
        most = 0

        def on_sent(sent: int) -> None:
            nonlocal most
            if self._report and sent > most:
                with self._lock:
                    self._report(sent - most)
                most = sent

        return on_sent


class _FileUpload:
    """Sends one file in parts, from threads that end at the first failure."""

    def __init__(
        self, transport: S3Transport, key: str, descriptor: int, size: int, progress: Callable[[int], None] | None
    ) -> None:
        self._transport, self._key = transport, key
        self._descriptor, self._size = descriptor, size
        self._progress = _Progress(progress)
        self._ended = threading.Event()

    def run(self) -> str:
        upload = S3MultipartUpload.begin(self._transport, self._key)
        try:
            return upload.complete(self._send_parts(upload))
        except BaseException:
            with contextlib.suppress(WorldError):
                upload.abort()
            raise

    def _send_parts(self, upload: S3MultipartUpload) -> list[UploadedPart]:
        threads = min(THREADS, self._transport.connections)
        with ThreadPoolExecutor(threads, thread_name_prefix="upload") as pool:
            try:
                parts = [pool.submit(self._send, upload, part) for part in plan_parts(self._size)]
                wait(parts, return_when=FIRST_EXCEPTION)
                _raise_first(parts)
                return [part.result() for part in parts]
            finally:
                self._ended.set()
                pool.shutdown(cancel_futures=True)

    def _send(self, upload: S3MultipartUpload, part: PartRange) -> UploadedPart:
        counted = self._progress.of_one_part()

        def on_sent(sent: int) -> None:
            if self._ended.is_set():
                raise Stopped("another part failed")
            counted(sent)

        return upload.put_part(part.number, FileSlice(self._descriptor, part.start, part.size), on_sent=on_sent)


def _raise_first(parts: Sequence[Future[UploadedPart]]) -> None:
    for part in parts:
        if part.done() and (error := part.exception()):
            raise error


def _completion(parts: Sequence[UploadedPart]) -> bytes:
    lines = (
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{escape(part.etag)}&quot;</ETag></Part>"
        for part in parts
    )
    opening = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{opening}{''.join(lines)}</CompleteMultipartUpload>".encode()


def _parse(body: bytes, expected: Collection[str], what: str) -> ElementTree.Element:
    """Return the root element of a response, which must have one of these names. Raises WorldError."""
    try:
        return parse_root(body.decode("utf-8-sig").strip(), expected)
    except ValueError as error:
        raise WorldError(Code.NETWORK, f"{what}: the response is not from an object store") from error


def _text(element: ElementTree.Element, name: str, what: str) -> str:
    text = element.findtext(f"{namespace(element)}{name}")
    if not text:
        raise WorldError(Code.NETWORK, f"{what}: the response has no {name}, so it is not from an object store")
    return text


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise WorldError(Code.NETWORK, f"{what}: the response has an invalid number")
    return int(text)


def _part(element: ElementTree.Element, what: str) -> UploadedPart:
    number, size = (_number(_text(element, name, what), what) for name in ("PartNumber", "Size"))
    return UploadedPart(number, etag_text(parse_etag(_text(element, "ETag", what))), size)
