"""Single requests for the checks of a store: every response is returned as it is, also an error. Opens sockets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from loader.errors import Code, WorldError
from loader.frozen import frozen
from loader.s3.errors import S3ErrorResponse
from loader.s3.http.headers import parse_http_date
from loader.s3.http.transport import S3Request, S3Transport
from loader.s3.http.urls import quote_query
from loader.s3.listing import ListPage, parse_listing

LISTING_LIMIT: Final = 16 * 1_048_576  # bytes
MAX_EMPTY_PAGES: Final = 10
_BODY_LIMIT: Final = 16_384  # bytes of any other response
_ALL: Final = tuple(range(200, 600))


@frozen
class Answer:
    """A response. `etag` is the header as it is, with quotes; `error` says why the store refused, else it is None."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    error: WorldError | None

    @property
    def etag(self) -> str:
        return self.headers.get("ETag") or ""

    def require(self) -> Answer:
        """Return the answer itself. Raises its error."""
        if self.error:
            raise self.error
        return self


class StoreProbe:
    """Requests to one bucket, each in one attempt. `date` is the store's clock in its last answer that had one."""

    def __init__(self, transport: S3Transport) -> None:
        self.transport = transport
        self.bucket = transport.bucket
        self.date: datetime | None = None
        self.date_received: datetime | None = None
        self._plus_is_space: bool | None = None  # in encoded names of listings, see `loader.s3.listing`

    @property
    def server(self) -> str:
        """Scheme, host and port of the requests, without anything secret that the endpoint may contain."""
        parts = urlsplit(self.transport.address)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    @property
    def is_local(self) -> bool:
        """Whether the store is on this machine."""
        host = urlsplit(self.transport.address).hostname or ""
        return host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")

    @property
    def is_path_style(self) -> bool:
        return urlsplit(self.transport.address).path.endswith(f"/{self.bucket}")

    def send(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        limit: int = _BODY_LIMIT,
        expected: Collection[str] = (),
    ) -> Answer:
        """Send a request. Raises WorldError if no response arrived, or if the store refused it only for now.

        `expected`: codes of the store that are returned, even if a retry of the request could help otherwise.
        """
        name = f"{method} {key}" if key else f"LIST {(query or {}).get('prefix', '')}".strip()
        request = S3Request(
            "put" if method in ("PUT", "POST") else "delete" if method == "DELETE" else "list",
            method,
            key,
            headers or {},
            query=quote_query(query or {}),
            body=body,
            limit=limit,
            accept=_ALL,
            name=name,
        )
        response = self.transport.call(request, 1)
        now = datetime.now(UTC)
        if date := parse_http_date(response.headers.get("Date")):
            self.date, self.date_received = date, now
        error = None
        if response.status >= 300:
            refusal = S3ErrorResponse.from_response(response.status, response.headers, response.body)
            error = refusal.to_error(str(request), self.bucket, now)
            if not error.permanent and refusal.s3_code not in expected:
                raise error
        return Answer(response.status, response.headers, response.body, error)

    def first_page(self, prefix: str, **values: str) -> ListPage:
        """Return the first page of a listing that has entries, else the last one that was read. Raises WorldError."""
        page = self.page(prefix, **values)
        for _ in range(MAX_EMPTY_PAGES):
            if page.first or page.token is None:
                break
            page = self.page(prefix, **values, continuation_token=page.token)
        return page

    def page(self, prefix: str, **values: str) -> ListPage:
        """Return one page of a listing. `values`: further parameters, with _ for -. Raises WorldError."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000"}
        query |= {name.replace("_", "-"): value for name, value in values.items()}
        if prefix:
            query["prefix"] = prefix
        answer = self.send("GET", "", query=query, limit=LISTING_LIMIT).require()
        try:
            page = parse_listing(answer.body, prefix, self._plus_is_space)
            if page.ambiguous:
                self._plus_is_space = not self._is_listed(page.ambiguous)
                page = parse_listing(answer.body, prefix, self._plus_is_space)
        except ValueError as error:
            raise WorldError(Code.NETWORK, f"LIST {prefix}: the response is not a listing: {error}") from error
        return page

    def _is_listed(self, name: str) -> bool:
        """Whether a key begins with this name, which contains a plus sign. Raises WorldError, ValueError."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1", "prefix": name}
        return bool(parse_listing(self.send("GET", "", query=query, limit=LISTING_LIMIT).require().body, name).objects)
