"""Signed requests to one bucket: sent, tried again where that may help, refusals raised as WorldError. Opens sockets.

Signed by `loader.s3.auth.sigv4` and sent by urllib3. Only `loader.s3.client` and `loader.s3.upload` use it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import urllib3

from loader.errors import Code, WorldError
from loader.s3.auth.credentials import CredentialProvider, S3Credentials
from loader.s3.auth.sigv4 import sign_request
from loader.s3.errors import S3ErrorResponse
from loader.s3.http.connections import connection_pool
from loader.s3.http.payload import FileSlice, Payload, payload_blocks, payload_sha256, payload_size
from loader.s3.http.responses import ObjectHeaders, read_limited, release_connection, translate_errors
from loader.s3.http.urls import endpoint_for, host_header, quote_key
from loader.s3.interface import RequestKind, RequestStats
from loader.s3.retry import Backoff

MAX_ATTEMPTS: Final = 3
MAX_RETRY_WAIT: Final = 20.0  # seconds; a store that asks for more gets its error reported instead
FIRST_RETRY_WAIT: Final = 0.5  # seconds at most; doubles
ERROR_BODY_LIMIT: Final = 16 * 1_024

OnSent = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class S3Request:
    """One request. `accept`: the statuses that are an answer, any other is a refusal.

    `limit`: bytes of the answer's body that are wanted. `sha256`: of the body, where it is known already. `streamed`:
    the body is sent in blocks, else in one piece with the headers; `on_sent` then hears how many bytes this attempt has
    sent so far. `patience`: seconds the answer's body may take.
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
    sha256: str | None = None
    streamed: bool = False
    on_sent: OnSent | None = None
    patience: float | None = None

    def __str__(self) -> str:
        return self.name or f"{self.method} {self.key}".strip()


@dataclass(frozen=True, slots=True)
class S3Response:
    """A status, the headers as they are, and at most one byte more than the call's limit."""

    status: int
    headers: Mapping[str, str]
    object_headers: ObjectHeaders | None
    body: bytes


class S3Transport:
    """The way to one bucket, for use by any number of threads; see `loader.s3.client.S3Bucket` for the arguments."""

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
    ) -> None:
        """Nothing is sent yet. Raises ValueError for an endpoint that is no http(s) address."""
        self.bucket, self.requests = bucket, requests
        self.endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self.connections = connections
        self._base, self._path_prefix = endpoint_for(bucket, self.endpoint, self.region)
        self._host = host_header(self._base)
        self._credentials = CredentialProvider(credentials)
        self._timeouts = timeouts
        self._sleep = sleep
        self._pool = connection_pool(self._base, connections)

    def call(self, call: S3Request, attempts: int = MAX_ATTEMPTS) -> S3Response:
        """Return the answer to one request, tried again with full jitter while that may help. Raises WorldError."""
        backoff = Backoff(attempts, FIRST_RETRY_WAIT, MAX_RETRY_WAIT)
        while True:
            try:
                return self._attempt(call)
            except WorldError as error:
                wait = self.retry_delay(error, backoff)
                if wait is None:
                    raise
            self._sleep(wait)

    def retry_delay(self, error: WorldError, backoff: Backoff) -> float | None:
        """Return the seconds to wait before another try, or None if trying again cannot help or was tried enough."""
        if error.permanent or (error.retry_after or 0.0) > MAX_RETRY_WAIT:
            return None
        delay = backoff.next_delay(error.retry_after)
        return None if backoff.is_exhausted else delay

    def wait(self, seconds: float) -> None:
        """Sleep as this bucket sleeps between attempts."""
        self._sleep(seconds)

    def request(self, call: S3Request) -> urllib3.BaseHTTPResponse:
        """Return the store's answer if it is one of those hoped for, its body unread. Raises WorldError."""
        response = self._send(call)
        if response.status not in call.accept:
            refusal = self._error_response(call, response)
            if refusal.s3_code != "ExpiredToken" or not self._credentials.invalidate():
                raise refusal.to_error(str(call), self.bucket, datetime.now(UTC))
            response = self._send(call)
            if response.status not in call.accept:
                raise self._error_response(call, response).to_error(str(call), self.bucket, datetime.now(UTC))
        return response

    def _attempt(self, call: S3Request) -> S3Response:
        response = self.request(call)
        try:
            return self._read_response(call, response)
        finally:
            release_connection(response)

    def _read_response(self, call: S3Request, response: urllib3.BaseHTTPResponse) -> S3Response:
        facts = None
        if call.kind == "get" and response.status in (200, 206):
            facts = ObjectHeaders.from_response(response, str(call), 0, call.limit)
        # An empty body, too: only one that was read to its end leaves the connection for the next request.
        body = self._read(call, response, call.limit)
        if facts and facts.length is not None and len(body) < min(facts.length, call.limit):
            raise WorldError(Code.SHORT_BODY, f"{call}: the connection ended before the body did")
        return S3Response(response.status, response.headers, facts, body)

    def _error_response(self, call: S3Request, response: urllib3.BaseHTTPResponse) -> S3ErrorResponse:
        try:
            body = self._read(call, response, ERROR_BODY_LIMIT)
        finally:
            release_connection(response)
        return S3ErrorResponse.from_response(response.status, response.headers, body)

    def _read(self, call: S3Request, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        patience = call.patience or 3 * self._timeouts[1]
        body = read_limited(response, limit, str(call), time.monotonic() + patience)
        if call.kind in ("list", "get"):
            self.requests.receive(len(body))
        return body

    def _send(self, call: S3Request) -> urllib3.BaseHTTPResponse:
        with translate_errors(str(call)):
            target = f"{self._path_prefix}/{quote_key(call.key)}" + (f"?{call.query}" if call.query else "")
            signed = sign_request(
                call.method,
                target,
                {"Host": self._host, **call.headers},
                payload_sha256(call.body) if call.sha256 is None else call.sha256,
                credentials=self._credentials.current(),
                region=self.region,
                now=datetime.now(UTC),
            )
            body, framing = _framed(call)
            self.requests.count(call.kind)
            return self._pool.urlopen(
                call.method,
                target,
                body=body,
                headers={**signed, **framing},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=self._timeouts[0], read=self._timeouts[1]),
                preload_content=False,
                decode_content=False,
            )


def _framed(call: S3Request) -> tuple[bytes | Iterable[bytes] | None, Mapping[str, str]]:
    """The body as urllib3 takes it, and the header that says where it ends."""
    if call.method not in ("PUT", "POST"):
        return None, {}
    if call.streamed or isinstance(call.body, FileSlice):
        return _told(payload_blocks(call.body), call.on_sent), {"Content-Length": str(payload_size(call.body))}
    return call.body, {}


def _told(blocks: Iterator[bytes], on_sent: OnSent | None) -> Iterator[bytes]:
    """The blocks; `on_sent` hears the sum once the next one is asked for, so that what it hears was sent."""
    sent = 0
    for block in blocks:
        yield block
        sent += len(block)
        if on_sent:
            on_sent(sent)
