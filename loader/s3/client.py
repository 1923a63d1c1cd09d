"""S3 client: list, get, open, put, upload, delete. Works with any S3-compatible store.

Requests are signed by `loader.s3.sigv4`, sent by urllib3 and listings are parsed by `loader.s3.listing`: boto3 takes
0.4 s to import and fifty times the CPU for a page of a listing, so only large uploads use it. Every failure is raised
as `WorldError`, chained, without a secret or a signed address in its text.

Addressing: with an endpoint the bucket is the first segment of the path; on AWS it is part of the host name where its
name allows. Credentials, region and endpoint come from the arguments, else from AWS's variables, else (credentials)
from the rest of botocore's chain; `AWS_CA_BUNDLE` and `HTTPS_PROXY` are honoured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import urllib3

from loader.clock import StoreClock
from loader.errors import Code, WorldError
from loader.s3.connections import connection_pool
from loader.s3.credentials import CredentialProvider, S3Credentials
from loader.s3.errors import NoSuchBucket, S3ErrorResponse
from loader.s3.headers import parse_http_date
from loader.s3.interface import (
    NOT_MODIFIED,
    Body,
    GetResult,
    Names,
    NotModified,
    ObjectInfo,
    RequestKind,
    RequestStats,
)
from loader.s3.listing import ListPage, parse_listing
from loader.s3.responses import ObjectHeaders, ResponseBody, read_limited, release_connection, translate_errors
from loader.s3.retry import Backoff
from loader.s3.sigv4 import sign_request
from loader.s3.urls import endpoint_for, host_header, quote_key, quote_query

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


MAX_ATTEMPTS: Final = 3
FIRST_RETRY_WAIT: Final = 0.5  # seconds at most before the second attempt
MAX_RETRY_WAIT: Final = 20.0  # seconds; a store that asks for more gets its error reported instead
LISTING_LIMIT: Final = 16 * 1_048_576  # bytes: 1,000 keys of 1,024 bytes, each byte as %XX, five times over
MAX_EMPTY_PAGES: Final = 100  # in a row; a store may have looked through what was deleted
ERROR_BODY_LIMIT: Final = 16 * 1_024


@dataclass(frozen=True, slots=True)
class _S3Request:
    """One request for a small thing. `accept`: the statuses that are an answer, any other is a refusal."""

    kind: RequestKind
    method: str
    key: str
    headers: Mapping[str, str]
    query: str = ""
    body: bytes = b""
    limit: int = 0
    accept: tuple[int, ...] = (200,)
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"{self.method} {self.key}".strip()


@dataclass(frozen=True, slots=True)
class _S3Response:
    """A status, the headers as they are, and at most one byte more than the call's limit."""

    status: int
    headers: Mapping[str, str]
    object_headers: ObjectHeaders | None
    body: bytes


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
        self.endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._base, self._path_prefix = endpoint_for(name, self.endpoint, self.region)
        self._host = host_header(self._base)
        given = S3Credentials(access_key, secret_key, session_token) if access_key and secret_key else None
        self._credentials = CredentialProvider(given)
        self._timeouts = (connect_timeout, read_timeout)
        self._sleep = sleep
        self._pool = connection_pool(self._base, connections)

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

    def _get(self, key: str, limit: int, condition: Mapping[str, str], accept: tuple[int, ...]) -> _S3Response | None:
        ranged = {**condition, "Range": f"bytes=0-{limit - 1}"}
        call = _S3Request("get", "GET", key, ranged, limit=limit, accept=(200, 206, 416, *accept))
        try:
            answer = self._call(call)
            if answer.status == 416:  # no byte 0: the object is empty
                answer = self._call(replace(call, headers=condition, accept=(200, *accept)))
        except WorldError as error:
            if error.code != Code.OBJECT_GONE or isinstance(error, NoSuchBucket):
                raise
            return None
        self.store_clock.hear(parse_http_date(answer.headers.get("Date")))
        return answer

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Body:
        """The object from byte `start` on, to before byte `end` if given, in one attempt.

        OBJECT_CHANGED if its ETag is not `if_match`. A store that ignores ranges sends everything: look at `start`.
        """
        condition = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        if start or end is not None:
            condition["Range"] = f"bytes={start}-" + ("" if end is None else str(end - 1))
        call = _S3Request("get", "GET", key, condition)
        response = self._request(replace(call, accept=(200, 206)))
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
        answer = self._call(
            _S3Request("put", "PUT", key, condition, body=body), attempts=1 if condition else MAX_ATTEMPTS
        )
        return _etag(answer.headers, f"PUT {key}")

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        self._call(_S3Request("delete", "DELETE", key, {}, accept=(200, 204)))

    def create_bucket(self) -> None:
        """Make the bucket where there is none. For embedded stores: it says nothing of a region, as AWS would want."""
        self._call(_S3Request("put", "PUT", "", {}, accept=(200, 409)))

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        """Write a file of any size and return its ETag. `progress` hears how many bytes more were sent."""
        # Late: boto3 takes 0.4 s to load, and only whoever publishes needs it.
        from boto3.exceptions import S3UploadFailedError  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            client = self._boto3_client()
            client.upload_file(str(path), self.name, key, Callback=progress)
            return client.head_object(Bucket=self.name, Key=key)["ETag"].strip('"')
        except (S3UploadFailedError, ClientError) as error:
            raise _upload_error(error, f"PUT {key}", self.name) from error
        except BotoCoreError as error:
            code = Code.TIMEOUT if "Timeout" in type(error).__name__ else Code.NETWORK
            raise WorldError(code, f"PUT {key}: the upload failed ({type(error).__name__})") from error
        except OSError as error:
            raise WorldError(Code.IO_ERROR, f"PUT {key}: the file cannot be read ({error.strerror})") from error

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
        answer = self._call(_S3Request("list", "GET", "", {}, query=quote_query(query), limit=LISTING_LIMIT, name=name))
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
        self.store_clock.hear(parse_http_date(answer.headers.get("Date")))
        return page

    def _call(self, call: _S3Request, attempts: int = MAX_ATTEMPTS) -> _S3Response:
        """One small call, tried again with full jitter while that may help."""
        backoff = Backoff(attempts, FIRST_RETRY_WAIT, MAX_RETRY_WAIT)
        while True:
            try:
                return self._attempt(call)
            except WorldError as error:
                wait = backoff.next_delay(error.retry_after)
                if error.permanent or backoff.is_exhausted or (error.retry_after or 0.0) > MAX_RETRY_WAIT:
                    raise
            self._sleep(wait)

    def _attempt(self, call: _S3Request) -> _S3Response:
        response = self._request(call)
        try:
            return self._read_response(call, response)
        finally:
            release_connection(response)

    def _request(self, call: _S3Request) -> urllib3.BaseHTTPResponse:
        """The store's answer if it is one of those hoped for, its body unread. Raises WorldError."""
        response = self._send(call)
        if response.status not in call.accept:
            refusal = self._error_response(call, response)
            if refusal.s3_code != "ExpiredToken" or not self._credentials.invalidate():
                raise refusal.to_error(str(call), self.name, datetime.now(UTC))
            response = self._send(call)
            if response.status not in call.accept:
                raise self._error_response(call, response).to_error(str(call), self.name, datetime.now(UTC))
        return response

    def _read_response(self, call: _S3Request, response: urllib3.BaseHTTPResponse) -> _S3Response:
        facts = None
        if call.kind == "get" and response.status in (200, 206):
            facts = ObjectHeaders.from_response(response, str(call), 0, call.limit)
        # An empty body, too: only one that was read to its end leaves the connection for the next request.
        body = self._read(call, response, call.limit)
        if facts and facts.length is not None and len(body) < min(facts.length, call.limit):
            raise WorldError(Code.SHORT_BODY, f"{call}: the connection ended before the body did")
        return _S3Response(response.status, response.headers, facts, body)

    def _error_response(self, call: _S3Request, response: urllib3.BaseHTTPResponse) -> S3ErrorResponse:
        try:
            body = self._read(call, response, ERROR_BODY_LIMIT)
        finally:
            release_connection(response)
        return S3ErrorResponse.from_response(response.status, response.headers, body)

    def _read(self, call: _S3Request, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        body = read_limited(response, limit, str(call), time.monotonic() + 3 * self._timeouts[1])
        if call.kind in ("list", "get"):
            self.requests.receive(len(body))
        return body

    def _send(self, call: _S3Request) -> urllib3.BaseHTTPResponse:
        with translate_errors(str(call)):
            target = f"{self._path_prefix}/{quote_key(call.key)}" + (f"?{call.query}" if call.query else "")
            headers = {"Host": self._host, **call.headers}
            signed = sign_request(
                call.method,
                target,
                headers,
                call.body,
                credentials=self._credentials.current(),
                region=self.region,
                now=datetime.now(UTC),
            )
            self.requests.count(call.kind)
            return self._pool.urlopen(
                call.method,
                target,
                body=call.body if call.method == "PUT" else None,
                headers=signed,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=self._timeouts[0], read=self._timeouts[1]),
                preload_content=False,
                decode_content=False,
            )

    def _boto3_client(self) -> S3Client:
        import boto3  # noqa: PLC0415  late, see upload()
        from botocore.config import Config  # noqa: PLC0415

        keys = self._credentials.current()
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            aws_session_token=keys.token,
            config=Config(
                signature_version="s3v4",
                connect_timeout=self._timeouts[0],
                read_timeout=self._timeouts[1],
                retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if self.endpoint else "auto", "payload_signing_enabled": True},
            ),
        )
        client.meta.events.register("before-send.s3", self._count_upload)
        return client

    def _count_upload(self, request: object, **_: object) -> None:
        self.requests.count("get" if getattr(request, "method", "") == "HEAD" else "put")


def _get_result(answer: _S3Response, limit: int) -> GetResult:
    facts, body = answer.object_headers, answer.body[:limit]
    assert facts is not None  # of every 200 and 206 to a GET
    size = len(answer.body) if facts.size is None else facts.size
    at = parse_http_date(answer.headers.get("Date"))
    return GetResult(body, facts.etag, facts.last_modified, size, truncated=size > len(body), server_time=at)


def _etag(headers: Mapping[str, str], what: str) -> str:
    etag = (headers.get("ETag") or "").strip('"')
    if not etag:
        raise WorldError(Code.NETWORK, f"{what}: the answer has no ETag, so it is not an object store's")
    return etag


def _upload_error(error: Exception, what: str, bucket: str) -> WorldError:
    """boto3 wraps the store's refusal once more for uploads; its own message may hold what should not be shown."""
    inner = error if hasattr(error, "response") else error.__context__
    response = getattr(inner, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    refusal = S3ErrorResponse(status, str(response.get("Error", {}).get("Code", "")), {})
    return refusal.to_error(what, bucket, datetime.now(UTC))
