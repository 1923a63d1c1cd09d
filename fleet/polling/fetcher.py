"""Fetch and parse objects of the status bucket, several at once.

Objects that the listing already describes are not fetched. Touches the status bucket only; threads never use the
database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from fleet.reconcile.objects import ChangedObject, ParsedObject, fetch_limit, parse_body, parse_from_listing
from fleet.reconcile.problems import Problem
from ifeportal.storage.background import map_in_threads
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.keys import StatusKey, parse_status_key
from loader.errors import Code, ContractError, WorldError
from loader.s3.interface import Bucket, GetResult, ObjectInfo

FETCHERS: Final = 8
CONSECUTIVE_FAILURES: Final = 16  # then the store has failed, not an object; more requests only prolong the poll


@dataclass(slots=True)
class FetchResult:
    """Parsed objects by key, problems with objects, and the failure of the store, if any."""

    by_key: dict[str, ParsedObject] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    failure: WorldError | None = None


@dataclass(slots=True)
class LookupResult:
    """Objects looked up by key: those that exist, the keys whose state is known, problems, and the store's failure."""

    infos: list[ObjectInfo] = field(default_factory=list)
    known_keys: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    failure: WorldError | None = None


class Fetcher:
    """Reads objects of one bucket with a few threads, which live as long as the `with` block.

    Calls the heartbeat of `lease` while it waits; errors that raises pass through.
    """

    def __init__(self, bucket: Bucket, lease: WorkLease = NO_LEASE) -> None:
        self._bucket = bucket
        self._lease = lease
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="poll")
        self._failures = 0  # in a row; threads may miscount by a few, which is precise enough for a limit
        self._cache: dict[str, GetResult] = {}  # by name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def head(self, keys: Iterable[str]) -> LookupResult:
        """Return which of these objects exist; `read` uses their cached content. Keys of no report are ignored."""
        reports = [(key, place) for key, place in ((key, _report(key)) for key in keys) if place is not None]
        lookup = LookupResult()
        fetched = map_in_threads(self._pool, lambda each: self._get(*each), reports, self._lease)
        for (key, _), response in zip(reports, fetched, strict=True):
            if isinstance(response, GetResult):
                self._cache[key] = response
                lookup.infos.append(ObjectInfo(key, response.size, response.etag, response.last_modified))
            elif response.code != Code.OBJECT_GONE:
                lookup.failure = _failed(lookup.problems, key, "", response) or lookup.failure
                continue
            lookup.known_keys.add(key)
        return lookup

    def read(self, changed: Iterable[ChangedObject], sizes: Mapping[str, Mapping[str, int]]) -> FetchResult:
        """Return the parsed objects. `sizes` (bytes by campaign and content) allow more of them without a request."""
        result = FetchResult()
        to_fetch: list[ChangedObject] = []
        for each in changed:
            parsed = parse_from_listing(each, sizes.get(each.key.campaign, {}).get(each.key.content))
            if parsed is None:
                to_fetch.append(each)
            else:
                result.by_key[each.name] = parsed
        for each, response in zip(
            to_fetch, map_in_threads(self._pool, self._fetch, to_fetch, self._lease), strict=True
        ):
            if isinstance(response, GetResult):
                result.by_key[each.name] = parse_body(each, response)
            elif response.code != Code.OBJECT_GONE:  # deleted since the listing; the next listing shows it
                failure = _failed(result.problems, each.name, each.etag, response)
                result.failure = result.failure or failure
        return result

    def _fetch(self, changed: ChangedObject) -> GetResult | WorldError:
        return self._cache.get(changed.name) or self._get(changed.name, changed.key)

    def _get(self, name: str, key: StatusKey) -> GetResult | WorldError:
        if self._failures >= CONSECUTIVE_FAILURES:
            return WorldError(Code.NETWORK, "not requested: too many requests in a row failed")
        try:
            fetched = self._bucket.get(name, fetch_limit(key))
        except WorldError as error:
            self._failures = 0 if error.permanent else self._failures + 1
            return error
        self._failures = 0
        return fetched or WorldError(Code.OBJECT_GONE, f"GET {name}: no such object")


def _report(key: str) -> StatusKey | None:
    try:
        return parse_status_key(key)
    except ContractError:
        return None


def _failed(problems: list[Problem], name: str, etag: str, error: WorldError) -> WorldError | None:
    """Return the failure of the store; a permanent error becomes a problem of that object instead."""
    if not error.permanent:
        return error
    problems.append(Problem(name, error.code, str(error), etag))
    return None
