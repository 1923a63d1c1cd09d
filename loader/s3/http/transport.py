"""Sends signed requests to one bucket, retries where that may help, raises WorldError for the rest. Opens sockets.

Signed by `loader.s3.auth.sigv4` and sent by urllib3. Only `loader.s3.client` and `loader.s3.multipart` use it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import urllib3

from loader.errors import Code, WorldError
from loader.frozen import frozen
from loader.s3.auth.credentials import CredentialProvider, S3Credentials
from loader.s3.auth.sigv4 import presign_target, sign_request
from loader.s3.errors import S3ErrorResponse
from loader.s3.http.connections import connection_pool
from loader.s3.http.payload import FileSlice, Payload, PayloadDigests, payload_blocks, payload_digests, payload_size
from loader.s3.http.proxies import proxy_for
from loader.s3.http.responses import ObjectHeaders, read_limited, release_connection, translate_errors
from loader.s3.http.urls import endpoint_for, host_header, origin_of, quote_key
from loader.s3.interface import MAX_SIGNATURE_TIME, RequestKind, RequestStats, SignedRequest
from loader.s3.location import find_location
from loader.s3.retry import Backoff

MAX_ATTEMPTS: Final = 3
MAX_RETRY_WAIT: Final = 20.0  # seconds; if a store requests a longer wait, its error is raised instead
FIRST_RETRY_WAIT: Final = 0.5  # seconds at most; doubles
ERROR_BODY_LIMIT: Final = 16 * 1_024

OnSent = Callable[[int], None]
T = TypeVar("T")


@frozen
class S3Request:
    """One request. Statuses other than those in `accept` are errors.

    `limit`: bytes to read of the response's body. `digests`: of the request's body, if known. `streamed`: send the body
    in blocks instead of in one piece with the headers; `on_sent` then gets the bytes this attempt has sent so far.
    `patience`: seconds that reading the response's body may take; `read_timeout`: seconds of one wait for its bytes, if
    other than usual. `accept_encoding`: GCS unpacks objects stored with gzip unless gzip is accepted.
    """

    kind: RequestKind
    method: str
    key: str
    headers: Mapping[str, str]
    query: str = ""
    body: Payload = b""
    limit: int = 0
    accept: tuple[int, ...] = (200,)
    name: str = ""
    digests: PayloadDigests | None = None
    streamed: bool = False
    on_sent: OnSent | None = None
    patience: float | None = None
    read_timeout: float | None = None
    accept_encoding: str = "identity"

    def __str__(self) -> str:
        return self.name or f"{self.method} {self.key}".strip()


@frozen
class S3Response:
    """Status, headers, and a body of at most one byte more than the request's limit."""

    status: int
    headers: Mapping[str, str]
    object_headers: ObjectHeaders | None
    body: bytes


class S3Transport:
    """Requests to one bucket, from any number of threads; see `loader.s3.client.S3Bucket` for the arguments."""

    def __init__(
        self,
        bucket: str,
        requests: RequestStats,
        *,
        endpoint: str | None,
        region: str | None,
        credentials: S3Credentials | None,
        timeouts: tuple[float, float],
        connections: int,
        sleep: Callable[[float], object],
        public_endpoint: str | None = None,
    ) -> None:
        """Send nothing yet. Raises ValueError for an endpoint, a proxy or an addressing style that cannot be used."""
        self.bucket, self.requests = bucket, requests
        location = find_location(endpoint, region)
        self.endpoint, self.region, self.style = location.endpoint, location.region, location.style
        self.connections = connections
        self._base, self._path_prefix = endpoint_for(bucket, self.endpoint, self.region, self.style)
        self._host = host_header(self._base)
        self._public = endpoint_for(bucket, public_endpoint or self.endpoint, self.region, self.style)
        self._credentials = CredentialProvider(credentials)
        self._timeouts = timeouts
        self._sleep = sleep
        self._proxy = proxy_for(self._base, os.environ)
        self._pool = connection_pool(self._base, connections, self._proxy)

    @property
    def address(self) -> str:
        """URL of the bucket."""
        return f"{self._base}{self._path_prefix}"

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of signed requests, as a browser names them."""
        return origin_of(self._public[0])

    def presign(self, method: str, key: str, query: str, headers: Mapping[str, str], valid_for: float) -> SignedRequest:
        """Sign a request with these headers for a client without credentials; it is not sent.

        Raises ValueError for a time that is too short or too long, WorldError (CREDENTIALS).
        """
        if not 1.0 <= valid_for <= MAX_SIGNATURE_TIME:
            raise ValueError(f"a signature must be valid for 1 to {MAX_SIGNATURE_TIME:,.0f} seconds")
        credentials, now = self._credentials.current(), datetime.now(UTC).replace(microsecond=0)
        seconds = int(valid_for)
        if credentials.expires_at is not None:
            seconds = min(seconds, int((credentials.expires_at - now).total_seconds()))
            if seconds < 1:
                raise WorldError(Code.CREDENTIALS, f"{method} {key}: the credentials have expired")
        base, prefix = self._public
        target = presign_target(
            method,
            f"{prefix}/{quote_key(key)}" + (f"?{query}" if query else ""),
            {"Host": host_header(base), **headers},
            credentials=credentials,
            region=self.region,
            now=now,
            seconds=seconds,
        )
        return SignedRequest(method, f"{base}{target}", headers, now + timedelta(seconds=seconds))

    def call(
        self, request: S3Request, attempts: int = MAX_ATTEMPTS, repeat_after: type[WorldError] = WorldError
    ) -> S3Response:
        """Send a request, retry with full jitter while that may help, and return the response. Raises WorldError.

        `repeat_after`: only errors of this class are followed by a retry.
        """
        return self.repeat(lambda: self._attempt(request), attempts, repeat_after)

    def repeat(self, attempt: Callable[[], T], attempts: int, repeat_after: type[WorldError] = WorldError) -> T:
        """Return the result of `attempt`, which is repeated as requests are in `call`. Raises WorldError."""
        backoff = Backoff(attempts, FIRST_RETRY_WAIT, MAX_RETRY_WAIT)
        while True:
            try:
                return attempt()
            except WorldError as error:
                wait = self.retry_delay(error, backoff) if isinstance(error, repeat_after) else None
                if wait is None:
                    raise
            self._sleep(wait)

    def retry_delay(self, error: WorldError, backoff: Backoff) -> float | None:
        """Return the seconds to wait before a retry, None if it cannot help or all attempts were made."""
        if error.permanent or (error.retry_after or 0.0) > MAX_RETRY_WAIT:
            return None
        delay = backoff.next_delay(error.retry_after)
        return None if backoff.is_exhausted else delay

    def wait(self, seconds: float) -> None:
        """Sleep as between attempts: a loader that stops ends the wait."""
        self._sleep(seconds)

    def request(self, request: S3Request) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response, its body unread. Raises WorldError."""
        response = self._send(request)
        if response.status not in request.accept:
            error = self._error_response(request, response)
            if error.s3_code != "ExpiredToken" or not self._credentials.invalidate():
                raise error.to_error(str(request), self.bucket, datetime.now(UTC))
            response = self._send(request)
            if response.status not in request.accept:
                raise self._error_response(request, response).to_error(str(request), self.bucket, datetime.now(UTC))
        return response

    def _attempt(self, request: S3Request) -> S3Response:
        response = self.request(request)
        try:
            return self._read_response(request, response)
        finally:
            release_connection(response)

    def _read_response(self, request: S3Request, response: urllib3.BaseHTTPResponse) -> S3Response:
        headers = None
        if request.kind == "get" and response.status in (200, 206):
            headers = ObjectHeaders.from_response(response, str(request), 0, request.limit)
        # Also an empty body: the connection can be reused only after a body that was read to its end.
        body = self._read(request, response, request.limit)
        if headers and headers.length is not None and len(body) < min(headers.length, request.limit):
            raise WorldError(Code.SHORT_BODY, f"{request}: the connection closed before the end of the body")
        return S3Response(response.status, response.headers, headers, body)

    def _error_response(self, request: S3Request, response: urllib3.BaseHTTPResponse) -> S3ErrorResponse:
        try:
            body = self._read(request, response, ERROR_BODY_LIMIT)
        finally:
            release_connection(response)
        return S3ErrorResponse.from_response(response.status, response.headers, body)

    def _read(self, request: S3Request, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        patience = request.patience or 3 * self._timeouts[1]
        body = read_limited(response, limit, str(request), time.monotonic() + patience)
        if request.kind in ("list", "get"):
            self.requests.receive(len(body))
        return body

    def _send(self, request: S3Request) -> urllib3.BaseHTTPResponse:
        with translate_errors(str(request), self._proxy):
            target = f"{self._path_prefix}/{quote_key(request.key)}" + (f"?{request.query}" if request.query else "")
            digests = request.digests or payload_digests(request.body)
            # Required for writes to a bucket with Object Lock.
            checksum = {"Content-MD5": digests.md5} if request.method == "PUT" and request.key else {}
            signed = sign_request(
                request.method,
                target,
                {"Host": self._host, **checksum, **request.headers},
                digests.sha256,
                credentials=self._credentials.current(),
                region=self.region,
                now=datetime.now(UTC),
            )
            body, framing = _framed(request)
            self.requests.count(request.kind)
            return self._pool.urlopen(
                request.method,
                target,
                body=body,
                # Not signed: GCS and proxies change it.
                headers={**signed, **framing, "Accept-Encoding": request.accept_encoding},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=self._timeouts[0], read=request.read_timeout or self._timeouts[1]),
                preload_content=False,
                decode_content=False,
            )


def _framed(request: S3Request) -> tuple[bytes | Iterable[bytes] | None, Mapping[str, str]]:
    """Return the body as urllib3 takes it, and the header with its length if urllib3 cannot know it."""
    if request.method not in ("PUT", "POST"):
        return None, {}
    if request.streamed or isinstance(request.body, FileSlice):
        return _counted(payload_blocks(request.body), request.on_sent), {
            "Content-Length": str(payload_size(request.body))
        }
    return request.body, {}


def _counted(blocks: Iterator[bytes], on_sent: OnSent | None) -> Iterator[bytes]:
    """Yield the blocks. `on_sent` is called when the next one is requested: only then was the last one sent."""
    sent = 0
    for block in blocks:
        yield block
        sent += len(block)
        if on_sent:
            on_sent(sent)
