"""Both buckets, seen from either side: list, get, open, put, upload, delete.

`S3Bucket` talks to any S3, `MemoryBucket` is the same in memory, for tests and property machines; one test suite holds
them to the same behaviour. `loader.s3.http.transport` sends the requests, `loader.s3.listing` reads the listings and
`loader.s3.upload` sends large files: boto3 would cost 0.4 s to load and fifty times the CPU for a page of a listing.
Whatever fails comes out as `WorldError`, chained, without a secret or a signed address in its text.

Addressing: with an endpoint the bucket is the first segment of the path; on AWS it is part of the host name where its
name allows. Credentials, region and endpoint come from the arguments, else from AWS's variables, else (credentials)
from the rest of botocore's chain; `AWS_CA_BUNDLE` and `HTTPS_PROXY` are honoured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from loader.clock import StoreClock
from loader.errors import Code, WorldError
from loader.s3.auth.credentials import S3Credentials
from loader.s3.errors import NoSuchBucket
from loader.s3.http.headers import parse_http_date
from loader.s3.http.responses import ResponseBody, etag_of, release_connection
from loader.s3.http.transport import MAX_ATTEMPTS, S3Request, S3Response, S3Transport
from loader.s3.http.urls import quote_query
from loader.s3.interface import (
    NOT_MODIFIED,
    Body,
    GetResult,
    MultipartUpload,
    Names,
    NotModified,
    ObjectInfo,
    RequestStats,
)
from loader.s3.listing import ListPage, parse_listing
from loader.s3.upload import S3MultipartUpload, upload_file

LISTING_LIMIT: Final = 16 * 1_048_576  # bytes: 1,000 keys of 1,024 bytes, each byte as %XX, five times over
MAX_EMPTY_PAGES: Final = 100  # in a row; a store may have looked through what was deleted


class S3Bucket:
    """A bucket of an S3, for use by any number of threads.

    Timeouts are in seconds and hold for one wait on the socket; `sleep` is what waits between attempts (a loader
    passes the wait of its stop event). Calls for small objects are tried three times where trying again may help,
    but conditional writes once: whether the first one arrived could not be told from a stranger's.
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
    ) -> None:
        """Nothing is sent yet. Raises ValueError for an endpoint that is no http(s) address."""
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
        )
        self.endpoint, self.region = self._transport.endpoint, self._transport.region

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below `prefix`, in no order one may rely on. Never ends early without an error."""
        for page in self._pages(prefix, {}):
            yield from page.objects

    def list_prefixes(self, prefix: str = "") -> Names:
        """The names directly below `prefix` that have objects below them, without it and the slash."""
        pages = self._pages(prefix, {"delimiter": "/"})
        return [name[len(prefix) :].removesuffix("/") for page in pages for name in page.prefixes]

    def get(self, key: str, limit: int) -> GetResult | None:
        """Return the first `limit` bytes (at least 1), or None if there is no such object."""
        answer = self._get(key, limit, {}, ())
        return _get_result(answer, limit) if answer else None

    def get_if_changed(self, key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        """Return what `get` would, or NOT_MODIFIED if the object still has this ETag."""
        answer = self._get(key, limit, {"If-None-Match": f'"{etag}"'}, (304,))
        if answer and answer.status == 304:
            return NOT_MODIFIED
        return _get_result(answer, limit) if answer else None

    def _get(self, key: str, limit: int, condition: Mapping[str, str], accept: tuple[int, ...]) -> S3Response | None:
        ranged = {**condition, "Range": f"bytes=0-{limit - 1}"}
        call = S3Request("get", "GET", key, ranged, limit=limit, accept=(200, 206, 416, *accept))
        try:
            answer = self._transport.call(call)
            if answer.status == 416:  # no byte 0: the object is empty
                answer = self._transport.call(replace(call, headers=condition, accept=(200, *accept)))
        except WorldError as error:
            if error.code != Code.OBJECT_GONE or isinstance(error, NoSuchBucket):
                raise
            return None
        self.store_clock.update(parse_http_date(answer.headers.get("Date")))
        return answer

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Body:
        """The object from byte `start` on, to before byte `end` if given, in one attempt.

        OBJECT_CHANGED if its ETag is not `if_match`. A store that ignores ranges sends everything: look at `start`.
        """
        condition = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        if start or end is not None:
            condition["Range"] = f"bytes={start}-" + ("" if end is None else str(end - 1))
        call = S3Request("get", "GET", key, condition)
        response = self._transport.request(replace(call, accept=(200, 206)))
        try:
            return ResponseBody(response, str(call), start, end, self.requests)
        except WorldError:
            release_connection(response)
            raise

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        """Write a small object and return its ETag; OBJECT_CHANGED if it must not exist but does, or has changed."""
        condition = {"If-None-Match": "*"} if if_none_match else {}
        if if_match is not None:
            condition["If-Match"] = f'"{if_match}"'
        answer = self._transport.call(
            S3Request("put", "PUT", key, condition, body=body), attempts=1 if condition else MAX_ATTEMPTS
        )
        return etag_of(answer.headers, f"PUT {key}")

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        self._transport.call(S3Request("delete", "DELETE", key, {}, accept=(200, 204)))

    def create_bucket(self) -> None:
        """Make the bucket where there is none. For embedded stores: it says nothing of a region, as AWS would want."""
        self._transport.call(S3Request("put", "PUT", "", {}, accept=(200, 409)))

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        """Write a file of any size and return its ETag. `progress` hears how many bytes more were sent."""
        return upload_file(self._transport, key, path, progress)

    def begin_upload(self, key: str) -> MultipartUpload:
        """Begin a multipart upload, to become the object `key` once it is completed."""
        return S3MultipartUpload.begin(self._transport, key)

    def resume_upload(self, key: str, upload_id: str) -> MultipartUpload:
        """Attach to a multipart upload that was begun before. Nothing is sent yet."""
        return S3MultipartUpload(self._transport, key, upload_id)

    def _pages(self, prefix: str, extra: Mapping[str, str]) -> Iterator[ListPage]:
        """Every page of a listing. A store that leads in circles or nowhere, or to another prefix, is an error."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", **extra}
        if prefix:
            query["prefix"] = prefix
        tokens: set[str] = set()
        first, empty = "", 0
        while True:
            page = self._page(prefix, query)
            if (page.first and page.first == first) or page.token in tokens:
                raise WorldError(Code.NETWORK, f"LIST {prefix}: the store sends the same page again and again")
            first, empty = page.first, 0 if page.first else empty + 1
            yield page
            if page.token is None:
                return
            if empty == MAX_EMPTY_PAGES:
                raise WorldError(Code.NETWORK, f"LIST {prefix}: the store sends page after page with nothing on it")
            tokens.add(page.token)
            query["continuation-token"] = page.token

    def _page(self, prefix: str, query: Mapping[str, str]) -> ListPage:
        name = f"LIST {prefix}".strip()
        answer = self._transport.call(
            S3Request("list", "GET", "", {}, query=quote_query(query), limit=LISTING_LIMIT, name=name)
        )
        try:
            if len(answer.body) > LISTING_LIMIT:
                raise ValueError("it is too long")
            page = parse_listing(answer.body)
            if not all(info.key.startswith(prefix) for info in page.objects):
                raise ValueError("it is of another prefix")
            if not all(name.startswith(prefix) for name in page.prefixes):
                raise ValueError("it is of another prefix")
        except ValueError as error:
            raise WorldError(Code.NETWORK, f"{name}: the answer is not a listing: {error}") from error
        self.store_clock.update(parse_http_date(answer.headers.get("Date")))
        return page


def _get_result(answer: S3Response, limit: int) -> GetResult:
    facts, body = answer.object_headers, answer.body[:limit]
    assert facts is not None  # of every 200 and 206 to a GET
    size = len(answer.body) if facts.size is None else facts.size
    at = parse_http_date(answer.headers.get("Date"))
    return GetResult(body, facts.etag, facts.last_modified, size, truncated=size > len(body), server_time=at)
