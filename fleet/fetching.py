"""Finds out what listed objects say: from the listing where it tells, else by fetching them, several at once.

Touches the status bucket only. Threads never see the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from fleet.reconcile import Problem, Reading, Sighting, guess, how_much, understand
from loader.bucket import Bucket
from loader.errors import WorldError

FETCHERS: Final = 8
FAILURES_IN_A_ROW: Final = 16  # then it is the store that fails, not an object, and asking on prolongs the poll


@dataclass(slots=True)
class Readings:
    """What objects say, by key; what is odd; and why some could not be had, if the store failed."""

    by_key: dict[str, Reading] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    failure: WorldError | None = None


class Fetcher:
    """Reads objects of one bucket with a few threads, which live as long as the `with` block."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="poll")
        self._failures = 0  # in a row; may be off by a few between threads: it is a brake, not a figure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, sightings: Iterable[Sighting], sizes: Mapping[str, Mapping[str, int]]) -> Readings:
        """What each object says. `sizes`, in bytes by campaign and content, let more be told without a request."""
        readings = Readings()
        unknown: list[Sighting] = []
        for each in sightings:
            reading = guess(each, sizes.get(each.key.campaign, {}).get(each.key.content))
            if reading is None:
                unknown.append(each)
            else:
                readings.by_key[each.name] = reading
        for each, answer in zip(unknown, self._pool.map(self._fetch, unknown), strict=True):
            if isinstance(answer, Reading):
                readings.by_key[each.name] = answer
            else:
                _miss(readings, each, answer)
        return readings

    def _fetch(self, sighting: Sighting) -> Reading | WorldError:
        if self._failures >= FAILURES_IN_A_ROW:
            return WorldError("NETWORK", "not asked any more after many failed requests")
        try:
            fetched = self._bucket.get(sighting.name, how_much(sighting))
        except WorldError as error:
            self._failures = 0 if error.permanent else self._failures + 1
            return error
        self._failures = 0
        if fetched is None:
            return WorldError("INTERNAL", "an unconditional request was answered as not modified")
        return understand(sighting, fetched)


def _miss(readings: Readings, sighting: Sighting, error: WorldError) -> None:
    """An object that could not be had. One that is gone since the listing is the next listing's matter."""
    if error.code == "OBJECT_GONE":
        return
    if error.permanent:
        readings.problems.append(Problem(sighting.name, error.code, str(error), sighting.etag))
    else:
        readings.failure = readings.failure or error
