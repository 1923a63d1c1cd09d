"""Problems with keys and objects: at most a limited number, each key and code once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

OLDER_OBJECT: Final = "OLDER_OBJECT"

BAD_ARCHIVE: Final = "BAD_ARCHIVE"  # reported by the job that restores archives; polls leave it open

BODY_PROBLEMS: Final = frozenset({"BAD_PROGRESS", "BAD_HEARTBEAT", BAD_ARCHIVE})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be parsed: the key, a code, a sentence, and the ETag of that version."""

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
        """Add the problem, or only count it above the limit; return whether it was added."""
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
    """Return the problem of a version that is older than the one read before.

    Its time is part of the sentence: the same bytes, rewritten, are a newer version and another problem.
    """
    detail = f"Dated {at:%Y-%m-%d %H:%M:%S}, it is older than the version read before and was ignored."
    return Problem(key, OLDER_OBJECT, detail, etag)
