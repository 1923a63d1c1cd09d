"""Client for a bucket of any S3: list, get, open, put, upload, delete.

`loader.s3.http.transport` sends the requests, `loader.s3.listing` parses listings, `loader.s3.multipart` sends and
copies large objects. boto3 would take 0.4 s to import and fifty times the CPU for a page of a listing. One test suite
checks that `S3Bucket` and `loader.s3.memory.MemoryBucket` behave alike. Every failure is raised as `WorldError`,
chained, without a secret or a signed address in its text.

Addressing (`loader.s3.http.urls`): with an endpoint, the bucket is the first segment of the path, unless
`AWS_S3_ADDRESSING_STYLE=virtual`; on AWS, it is part of the host name if its name allows. Credentials, region and
endpoint come from the arguments, else from AWS's variables, else from the profile (`loader.s3.location`) and the rest
of botocore's chain. `AWS_CA_BUNDLE` and `HTTPS_PROXY` are honoured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from loader.clock import StoreClock
from loader.errors import Code, WorldError
from loader.s3 import cors
from loader.s3.auth.credentials import S3Credentials
from loader.s3.errors import Busy, NoSuchBucket
from loader.s3.etags import etag_header, is_weak
from loader.s3.http.headers import parse_http_date, write_condition
from loader.s3.http.responses import ResponseBody, etag_of, is_compressed_in_transit, release_connection
from loader.s3.http.transport import S3Request, S3Response, S3Transport
from loader.s3.http.urls import quote_query
from loader.s3.interface import (
    NOT_MODIFIED,
    Body,
    CorsRule,
    CorsRules,
    GetResult,
    MultipartUpload,
    Names,
    NotModified,
    ObjectInfo,
    RequestStats,
    UnfinishedUpload,
)
from loader.s3.listing import ListPage, parse_listing
from loader.s3.multipart.copying import copy_object
from loader.s3.multipart.files import upload_file
from loader.s3.multipart.unfinished import list_uploads
from loader.s3.multipart.upload import S3MultipartUpload

LISTING_LIMIT: Final = 4 * 1_048_576  # bytes: 1,000 keys of 1,024 bytes, each byte as %XX, and 1 KB of other fields
# By endpoint and bucket: what a plus sign in a listing means, where that was ambiguous. On AWS it is always a space.
_PLUS_IS_SPACE: Final[dict[tuple[str, str], bool]] = {}
MAX_EMPTY_PAGES: Final = 100  # in a row; a store may return pages that list only deleted objects


class S3Bucket:
    """A bucket of an S3, for use by any number of threads: `loader.s3.interface.Bucket`.

    Timeouts are in seconds, for one wait on the socket. `sleep` waits between attempts; a loader passes the wait of its
    stop event. Calls for small objects are attempted three times if a retry may help, conditional writes only if
    the store refused the attempt: otherwise, a retry could not distinguish its own first attempt from another client's
    write.
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 20.0,
        connections: int = 16,
        sleep: Callable[[float], object] = time.sleep,
        public_endpoint: str | None = None,
    ) -> None:
        """Send nothing yet. Raises ValueError for an endpoint or an addressing style that cannot be used.

        `public_endpoint`: the address of the same store for clients that get signed requests, if theirs is another.
        """
        self.name = name
        self.requests = RequestStats()
        self.store_clock = StoreClock()
        given = S3Credentials(access_key, secret_key, session_token) if access_key and secret_key else None
        self._transport = S3Transport(
            name,
            self.requests,
            endpoint=endpoint,
            region=region,
            credentials=given,
            timeouts=(connect_timeout, read_timeout),
            connections=connections,
            sleep=sleep,
            public_endpoint=public_endpoint,
        )
        self.endpoint, self.region = self._transport.endpoint, self._transport.region
        self.addressing_style = self._transport.style
        self.public_origin = self._transport.public_origin
        self._place = (self.endpoint or "", name)

    @property
    def transport(self) -> S3Transport:
        """Single requests to the bucket, for `loader.s3.check`."""
        return self._transport

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for page in self._pages(prefix, {}):
            yield from page.objects

    def list_prefixes(self, prefix: str = "") -> Names:
        pages = self._pages(prefix, {"delimiter": "/"})
        return [name[len(prefix) :].removesuffix("/") for page in pages for name in page.prefixes]

    def get(self, key: str, limit: int) -> GetResult | None:
        response = self._get(key, limit, {}, ())
        return _get_result(response, limit) if response else None

    def get_if_changed(self, key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        response = self._get(key, limit, {"If-None-Match": etag_header(etag)}, (304,))
        if response and response.status == 304:
            return NOT_MODIFIED
        return _get_result(response, limit) if response else None

    def _get(self, key: str, limit: int, condition: Mapping[str, str], accept: tuple[int, ...]) -> S3Response | None:
        ranged = {**condition, "Range": f"bytes=0-{limit - 1}"}
        request = S3Request("get", "GET", key, ranged, limit=limit, accept=(200, 206, 416, *accept))
        try:
            response = self._transport.call(request)
            # No byte 0: the object is empty. Or the store does not say whether the object has more bytes.
            if response.status == 416 or _is_cut_at_unknown_size(response, limit):
                response = self._transport.call(replace(request, headers=condition, accept=(200, *accept)))
        except WorldError as error:
            if error.code != Code.OBJECT_GONE or isinstance(error, NoSuchBucket):
                raise
            return None
        self.store_clock.update(parse_http_date(response.headers.get("Date")))
        return response

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Body:
        # A weak ETag never fulfils If-Match (RFC 9110, 13.1.1): that of the response is compared instead.
        headers = {} if if_match is None or is_weak(if_match) else {"If-Match": etag_header(if_match)}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-" + ("" if end is None else str(end - 1))
        request = S3Request("get", "GET", key, headers, accept=(200, 206), accept_encoding="gzip")
        response = self._transport.request(request)
        if is_compressed_in_transit(response):
            release_connection(response)
            response = self._transport.request(replace(request, accept_encoding="identity"))
        try:
            body = ResponseBody(response, str(request), start, end, self.requests)
            if if_match is not None and is_weak(if_match) and body.etag != if_match:
                raise WorldError(Code.OBJECT_CHANGED, f"{request}: the object has changed")
        except WorldError:
            release_connection(response)
            raise
        return body

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        condition = write_condition(if_none_match=if_none_match, if_match=if_match)
        response = self._transport.call(
            S3Request("put", "PUT", key, condition, body=body), repeat_after=Busy if condition else WorldError
        )
        return etag_of(response.headers, f"PUT {key}")

    def delete(self, key: str) -> None:
        self._transport.call(S3Request("delete", "DELETE", key, {}, accept=(200, 204)))

    def create_bucket(self) -> None:
        """Create the bucket unless it exists. For embedded stores only: AWS would need a region."""
        self._transport.call(S3Request("put", "PUT", "", {}, accept=(200, 409)))

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        return upload_file(self._transport, key, path, progress)

    def begin_upload(self, key: str, *, checksums: bool = False) -> MultipartUpload:
        return S3MultipartUpload.begin(self._transport, key, checksums=checksums)

    def resume_upload(self, key: str, upload_id: str, *, checksums: bool = False) -> MultipartUpload:
        return S3MultipartUpload(self._transport, key, upload_id, checksums=checksums)

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        return list_uploads(self._transport, prefix)

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
        return copy_object(
            self._transport,
            source_key,
            key,
            size=size,
            if_match=if_match,
            if_none_match=if_none_match,
            progress=progress,
        )

    def get_cors(self) -> CorsRules:
        return cors.get_cors(self._transport)

    def put_cors(self, rules: Sequence[CorsRule]) -> None:
        cors.put_cors(self._transport, rules)

    def _pages(self, prefix: str, extra: Mapping[str, str]) -> Iterator[ListPage]:
        """Yield the pages of a listing. Raises WorldError if the store repeats pages or sends only empty ones."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", **extra}
        if prefix:
            query["prefix"] = prefix
        tokens: set[str] = set()
        first, empty = "", 0
        while True:
            page = self._page(prefix, query)
            if (page.first and page.first == first) or page.token in tokens:
                raise WorldError(Code.NETWORK, f"LIST {prefix}: the store repeats a page")
            first, empty = page.first, 0 if page.first else empty + 1
            yield page
            if page.token is None:
                return
            if empty == MAX_EMPTY_PAGES:
                raise WorldError(Code.NETWORK, f"LIST {prefix}: the store sent {MAX_EMPTY_PAGES} empty pages in a row")
            tokens.add(page.token)
            query["continuation-token"] = page.token

    def _page(self, prefix: str, query: Mapping[str, str]) -> ListPage:
        name = f"LIST {prefix}".strip()
        request = S3Request("list", "GET", "", {}, query=quote_query(query), limit=LISTING_LIMIT, name=name)
        response = self._transport.call(request)
        try:
            if len(response.body) > LISTING_LIMIT:
                raise ValueError("it is too long")
            page = parse_listing(response.body, prefix, _PLUS_IS_SPACE.get(self._place))
            if page.ambiguous and self.endpoint:
                _PLUS_IS_SPACE[self._place] = not self._is_listed(page.ambiguous)
                page = parse_listing(response.body, prefix, _PLUS_IS_SPACE[self._place])
            if not all(info.key.startswith(prefix) for info in page.objects):
                raise ValueError("it is for another prefix")
            if not all(name.startswith(prefix) for name in page.prefixes):
                raise ValueError("it is for another prefix")
        except ValueError as error:
            raise WorldError(Code.NETWORK, f"{name}: the response is not a listing: {error}") from error
        self.store_clock.update(parse_http_date(response.headers.get("Date")))
        return page

    def _is_listed(self, name: str) -> bool:
        """Whether an object's key begins with this name, which contains a plus sign. Raises WorldError, ValueError."""
        query = quote_query({"list-type": "2", "encoding-type": "url", "max-keys": "1", "prefix": name})
        request = S3Request("list", "GET", "", {}, query=query, limit=LISTING_LIMIT, name=f"LIST {name}")
        return bool(parse_listing(self._transport.call(request).body, name).objects)


def _is_cut_at_unknown_size(response: S3Response, limit: int) -> bool:
    headers = response.object_headers
    return headers is not None and headers.size is None and response.status == 206 and len(response.body) >= limit


def _get_result(response: S3Response, limit: int) -> GetResult:
    headers, body = response.object_headers, response.body[:limit]
    assert headers is not None  # of every 200 and 206 to a GET
    size = len(response.body) if headers.size is None else headers.size
    at = parse_http_date(response.headers.get("Date"))
    return GetResult(body, headers.etag, headers.last_modified, size, truncated=size > len(body), server_time=at)
