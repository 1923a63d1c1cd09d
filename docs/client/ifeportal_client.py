"""An example client of the portal's API: rows page by page, changes as they come. The standard library only.

    with Portal("https://ife.example.org", token="ife_…") as portal:
        for transfer in portal.transfers(airline="ACME", status="failed"):
            print(transfer.tail, transfer.content, transfer.error)

Copy it and change it. A request that was throttled (429), or met a database that is away (503), is sent again when the
portal says so; any other error is raised as a `Problem`.
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
WAIT = 25  # seconds one question about changes waits
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
    """What the portal says went wrong (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.errors: Mapping[str, Sequence[str]] = problem.get("errors", {})


class StartAnew(Problem):
    """The changes since then are no longer known: read the lists again."""


class _Stay(HTTPRedirectHandler):
    """A redirection is not followed: it might take the token elsewhere."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """No request."""
        return None


R = TypeVar("R")


class Portal:
    """The API of one portal, seen with one token. Not to be shared by threads."""

    def __init__(
        self, address: str, token: str, *, timeout: float = 60.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`timeout` is in seconds, and longer than a question about changes waits."""
        self._root = urljoin(address, "/api/v1/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout = timeout
        self._sleep = sleep
        self._opener = build_opener(_Stay)
        self.revision: int | None = None  # of the first list that was read; changes go on from there

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opener.close()

    def transfers(self, **filters: Value | Sequence[Value]) -> Iterator[Transfer]:
        """The transfers, each exactly once."""
        return (row_of(Transfer, row) for row in self.rows("transfers", filters))

    def loads(self, **filters: Value | Sequence[Value]) -> Iterator[Load]:
        """The loads, each exactly once."""
        return (row_of(Load, row) for row in self.rows("loads", filters))

    def rows(self, part: str, filters: Filters) -> Iterator[dict[str, Any]]:
        """The rows of any list, by cursor: none comes twice and none is left out, whatever changes meanwhile."""
        address: str | None = f"{self._root}{part}/?{_query({'page_size': 500, **filters, 'paging': 'cursor'})}"
        while address is not None:
            page, headers = self._get(address)
            if self.revision is None:
                self.revision = int(headers["X-Revision"])
            yield from page["results"]
            address = self._here(page["next"])

    def changes(self, since: int | None = None, **filters: Value | Sequence[Value]) -> Iterator[Change]:
        """What changes, for ever, from a revision on; else from the first list that was read, else from now on.

        `revision` follows what was taken. Raises StartAnew once the portal no longer knows what changed since then.
        """
        if since is not None or self.revision is None:
            self.revision = since if since is not None else self._ask({})["rev"]
        while True:
            answer = self._ask({"since": self.revision or 0, "wait": WAIT, **filters})
            for change in answer["changes"]:
                yield row_of(Change, change)
            self.revision = answer["rev"]

    def _ask(self, question: Filters) -> dict[str, Any]:
        answer, _ = self._get(f"{self._root}changes/?{_query(question)}")
        return answer

    def _here(self, link: str | None) -> str | None:
        """The link, at the address the portal was reached by: behind a proxy it may know itself by another."""
        return None if link is None else urljoin(self._root, f"{urlsplit(link).path}?{urlsplit(link).query}")

    def _get(self, address: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        for attempt in range(ATTEMPTS):
            try:
                with self._opener.open(Request(address, headers=self._headers), timeout=self._timeout) as answer:  # noqa: S310
                    return json.load(answer), answer.headers
            except HTTPError as error:
                pause = _pause(error, attempt)
            except (URLError, HTTPException, TimeoutError, ConnectionError):
                if attempt == ATTEMPTS - 1:
                    raise
                pause = 2.0**attempt
            self._sleep(pause)
        raise AssertionError("the last attempt answers or raises")


def _pause(error: HTTPError, attempt: int) -> float:
    """Return the seconds to wait before the next attempt. Raises Problem if there is none."""
    with error:
        if error.code in (429, 503) and attempt < ATTEMPTS - 1:
            asked = error.headers.get("Retry-After", "")
            return min(float(asked) if asked.isdigit() else 2.0**attempt, LONGEST_PAUSE)
        is_problem = error.headers.get_content_type() == "application/problem+json"
        problem = json.load(error) if is_problem else {"title": error.reason}
    raise (StartAnew if error.code == 410 else Problem)(error.code, problem)


def _query(filters: Filters) -> str:
    words = {True: "true", False: "false"}
    plain = {name: words[value] if isinstance(value, bool) else value for name, value in filters.items()}
    return urlencode(plain, doseq=True)


def row_of(kind: type[R], row: Mapping[str, Any]) -> R:
    """A row as its dataclass: moments become datetimes, columns it does not know are left out."""
    hints = get_type_hints(kind)
    values = {field.name: row[field.name] for field in fields(kind)}  # type: ignore[arg-type]  # each is a dataclass
    for name, value in values.items():
        if value is not None and hints[name] == datetime | None:
            values[name] = datetime.fromisoformat(value)
    return kind(**values)
