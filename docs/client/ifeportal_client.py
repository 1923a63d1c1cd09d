"""An example client of the portal's API: read lists, follow changes. Standard library only.

    with Portal("https://ife.example.org", token="ife_…") as portal:
        for transfer in portal.transfers(airline="ACME", status="failed"):
            print(transfer.tail, transfer.content, transfer.error)

`ifeportal_uploads` beside this file uploads files. Copy and change both. A request that the portal limits (429), or
cannot answer for lack of its database or its store (503), is repeated after the time that the portal names. Any other
error is raised as a `Problem`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from http.client import HTTPException
from typing import Any, Self, TypeVar, get_type_hints
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

ATTEMPTS = 6
LONGEST_PAUSE = 60.0  # seconds
WAIT = 25  # seconds that a request for changes waits
Value = str | int | bool
Filters = Mapping[str, Value | Sequence[Value]]


@dataclass(frozen=True)
class Transfer:
    """One content item on its way to one tail. Bytes, bytes per second, seconds, UTC; unknown is None."""

    id: int
    airline: str
    tail: str
    campaign: str
    content: str
    status: str
    state: str
    bytes_done: int
    bytes_total: int | None
    percent: int | None
    error: str
    error_code: str
    rate_bps: int | None
    eta_seconds: int | None
    as_of: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Load:
    """One campaign on one tail."""

    id: int
    airline: str
    tail: str
    campaign: str
    status: str
    state: str
    at_risk: bool
    proof: str
    bytes_done: int
    bytes_total: int | None
    percent: int | None
    items_total: int | None
    items_done: int
    items_failed: int
    error: str
    error_code: str
    rate_bps: int | None
    eta_seconds: int | None
    as_of: datetime | None


@dataclass(frozen=True)
class Change:
    """The newest state of one row: `topic` names its list, `object` is its id, `op` is put or delete."""

    topic: str
    object: int
    op: str
    state: Mapping[str, Any]


class Problem(Exception):
    """An error response of the portal (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.code = str(problem.get("code", ""))  # of a refused upload
        self.errors: Mapping[str, Sequence[str]] = problem.get("errors", {})
        self.problem = problem


class ChangesExpired(Problem):
    """The portal no longer has the changes since that revision: read the lists again."""


class _NoRedirects(HTTPRedirectHandler):
    """Follow no redirect: it could send the token to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return None: no further request."""
        return None


R = TypeVar("R")


class Portal:
    """The API of one portal with one token. Not thread-safe."""

    def __init__(
        self, address: str, token: str, *, timeout: float = 60.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`timeout`: seconds, more than `WAIT`."""
        self._root = urljoin(address, "/api/v1/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout = timeout
        self._sleep = sleep
        self._opener = build_opener(_NoRedirects)
        self.revision: int | None = None  # of the first list that was read; `changes` continues from it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opener.close()

    def transfers(self, **filters: Value | Sequence[Value]) -> Iterator[Transfer]:
        """Return all transfers, each exactly once."""
        return (row_of(Transfer, row) for row in self.rows("transfers", filters))

    def loads(self, **filters: Value | Sequence[Value]) -> Iterator[Load]:
        """Return all loads, each exactly once."""
        return (row_of(Load, row) for row in self.rows("loads", filters))

    def rows(self, part: str, filters: Filters) -> Iterator[dict[str, Any]]:
        """Return the rows of any list, by cursor: each exactly once, even if rows change meanwhile."""
        address: str | None = f"{self._root}{part}/?{_query({'page_size': 500, **filters, 'paging': 'cursor'})}"
        while address is not None:
            page, headers = self._send("GET", address)
            if self.revision is None:
                self.revision = int(headers["X-Revision"])
            yield from page["results"]
            address = self._own_address(page["next"])

    def changes(self, since: int | None = None, **filters: Value | Sequence[Value]) -> Iterator[Change]:
        """Yield changes without end: after the revision `since`, else after the first list read, else from now.

        `revision` is that of the last change. Raises ChangesExpired if the portal no longer has the changes since it.
        """
        if since is not None or self.revision is None:
            self.revision = since if since is not None else self._request_changes({})["rev"]
        while True:
            answer = self._request_changes({"since": self.revision or 0, "wait": WAIT, **filters})
            for change in answer["changes"]:
                yield row_of(Change, change)
            self.revision = answer["rev"]

    def _request_changes(self, parameters: Filters) -> dict[str, Any]:
        answer, _ = self._send("GET", f"{self._root}changes/?{_query(parameters)}")
        return answer

    def call(self, method: str, part: str, body: Any = None) -> dict[str, Any]:
        """Send a request to a part of the API, such as `uploads/`, with a JSON body. Raises Problem."""
        return self._send(method, f"{self._root}{part}", body)[0]

    def _own_address(self, link: str | None) -> str | None:
        """Return the link at the address of this client: behind a proxy the portal may have another address."""
        return None if link is None else urljoin(self._root, f"{urlsplit(link).path}?{urlsplit(link).query}")

    def _send(self, method: str, address: str, body: Any = None) -> tuple[dict[str, Any], Mapping[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        for attempt in range(ATTEMPTS):
            try:
                request = Request(address, data, headers, method=method)  # noqa: S310  # the address is the caller's
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return json.load(answer), answer.headers
            except HTTPError as error:
                pause = _pause(error, attempt)
            except (URLError, HTTPException, TimeoutError, ConnectionError):
                if attempt == ATTEMPTS - 1:
                    raise
                pause = 2.0**attempt
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _pause(error: HTTPError, attempt: int) -> float:
    """Return the seconds to wait before the next attempt. Raises Problem if there is none."""
    with error:
        if error.code in (429, 503) and attempt < ATTEMPTS - 1:
            asked = error.headers.get("Retry-After", "")
            return min(float(asked) if asked.isdigit() else 2.0**attempt, LONGEST_PAUSE)
        is_problem = error.headers.get_content_type() == "application/problem+json"
        problem = json.load(error) if is_problem else {"title": error.reason}
    raise (ChangesExpired if error.code == 410 else Problem)(error.code, problem)


def _query(filters: Filters) -> str:
    words = {True: "true", False: "false"}
    plain = {name: words[value] if isinstance(value, bool) else value for name, value in filters.items()}
    return urlencode(plain, doseq=True)


def row_of(kind: type[R], row: Mapping[str, Any]) -> R:
    """Return a row as its dataclass: times become datetimes, unknown columns are omitted."""
    hints = get_type_hints(kind)
    values = {field.name: row[field.name] for field in fields(kind)}  # type: ignore[arg-type]  # each is a dataclass
    for name, value in values.items():
        if value is not None and hints[name] == datetime | None:
            values[name] = datetime.fromisoformat(value)
    return kind(**values)
