"""Problems with keys and objects: at most a limited number, each key and code once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

OLDER_OBJECT: Final = "OLDER_OBJECT"

BAD_ARCHIVE: Final = "BAD_ARCHIVE"  # told of by the job that reads archives; polls let it stand

BODY_PROBLEMS: Final = frozenset({"BAD_PROGRESS", "BAD_HEARTBEAT", BAD_ARCHIVE})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be understood: where, a word for it, a sentence, and the version looked at."""

    key: str
    code: str
    detail: str
    etag: str = ""


class Problems:
    """At most `limit` problems, each key and code once; the rest is only counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[tuple[str, str], Problem] = {}
        self.dropped = 0

    def add(self, problem: Problem) -> bool:
        """Keep the problem, or count it where there are too many; whether it was kept."""
        place = problem.key, problem.code
        if place in self._found or len(self._found) < self._limit:
            self._found[place] = problem
            return True
        self.dropped += 1
        return False

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found) + self.dropped


def stale_object_problem(key: str, etag: str, at: datetime) -> Problem:
    """That this version of an object is older than the one read before.

    The moment belongs to it: the same bytes written anew are another version, and newer.
    """
    detail = f"It is of {at:%Y-%m-%d %H:%M:%S}, older than the version read before, and does not replace it."
    return Problem(key, OLDER_OBJECT, detail, etag)
