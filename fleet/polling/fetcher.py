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
CONSECUTIVE_FAILURES: Final = 16  # then it is the store that fails, not an object, and asking on prolongs the poll


@dataclass(slots=True)
class FetchResult:
    """What objects say, by key; what is odd; and why some could not be had, if the store failed."""

    by_key: dict[str, ParsedObject] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    failure: WorldError | None = None


@dataclass(slots=True)
class LookupResult:
    """Objects that were asked for by key: those there are; `known_keys`, the keys whose fate is known; what failed."""

    infos: list[ObjectInfo] = field(default_factory=list)
    known_keys: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    failure: WorldError | None = None


class Fetcher:
    """Reads objects of one bucket with a few threads, which live as long as the `with` block.

    The heartbeat of `lease` is called while it waits for them; what it raises goes through.
    """

    def __init__(self, bucket: Bucket, lease: WorkLease = NO_LEASE) -> None:
        self._bucket = bucket
        self._lease = lease
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="poll")
        self._failures = 0  # in a row; may be off by a few between threads: it is a brake, not a figure
        self._cache: dict[str, GetResult] = {}  # by name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def head(self, keys: Iterable[str]) -> LookupResult:
        """Which of these objects there are; what they say is kept for `read`. No key of a report is asked for."""
        reports = [(key, place) for key, place in ((key, _report(key)) for key in keys) if place is not None]
        named = LookupResult()
        fetched = map_in_threads(self._pool, lambda each: self._get(*each), reports, self._lease)
        for (key, _), answer in zip(reports, fetched, strict=True):
            if isinstance(answer, GetResult):
                self._cache[key] = answer
                named.infos.append(ObjectInfo(key, answer.size, answer.etag, answer.last_modified))
            elif answer.code != Code.OBJECT_GONE:
                named.failure = _failed(named.problems, key, "", answer) or named.failure
                continue
            named.known_keys.add(key)
        return named

    def read(self, changed: Iterable[ChangedObject], sizes: Mapping[str, Mapping[str, int]]) -> FetchResult:
        """What each object says. `sizes`, in bytes by campaign and content, let more be told without a request."""
        readings = FetchResult()
        unknown: list[ChangedObject] = []
        for each in changed:
            reading = parse_from_listing(each, sizes.get(each.key.campaign, {}).get(each.key.content))
            if reading is None:
                unknown.append(each)
            else:
                readings.by_key[each.name] = reading
        for each, answer in zip(unknown, map_in_threads(self._pool, self._fetch, unknown, self._lease), strict=True):
            if isinstance(answer, GetResult):
                readings.by_key[each.name] = parse_body(each, answer)
            elif answer.code != Code.OBJECT_GONE:  # gone since the listing: the next listing's matter
                failure = _failed(readings.problems, each.name, each.etag, answer)
                readings.failure = readings.failure or failure
        return readings

    def _fetch(self, sighting: ChangedObject) -> GetResult | WorldError:
        return self._cache.get(sighting.name) or self._get(sighting.name, sighting.key)

    def _get(self, name: str, key: StatusKey) -> GetResult | WorldError:
        if self._failures >= CONSECUTIVE_FAILURES:
            return WorldError(Code.NETWORK, "not asked any more after many failed requests")
        try:
            fetched = self._bucket.get(name, fetch_limit(key))
        except WorldError as error:
            self._failures = 0 if error.permanent else self._failures + 1
            return error
        self._failures = 0
        return fetched or WorldError(Code.OBJECT_GONE, f"GET {name}: there is no such object")


def _report(key: str) -> StatusKey | None:
    try:
        return parse_status_key(key)
    except ContractError:
        return None


def _failed(problems: list[Problem], name: str, etag: str, error: WorldError) -> WorldError | None:
    """What could not be had for good is a problem of that object; else it is a failure of the store."""
    if not error.permanent:
        return error
    problems.append(Problem(name, error.code, str(error), etag))
    return None
