"""What to check of a bucket, for whom, and within which limits. Pure, except for the clock of `Budget`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loader.frozen import frozen
from loader.s3.check.findings import Finding, Outcome

TIME_LIMIT: Final = 60.0  # seconds after which no further check begins


def _any_key(key: str) -> bool:
    return True


@frozen
class BucketPlan:
    """The checks of one bucket.

    `role`: "media" or "status". `prefix`: of the objects that the program lists. `may_read`: whether its rights include
    an object. `known_key`: an object that it reads and that may not exist yet. `scratch`: prefix of the test objects
    that are written and deleted again, empty if the program does not write. `must_write`: it cannot work without.
    `multipart`: it uploads large files. `origin`: of the pages that upload to the bucket from browsers, empty if none.
    """

    role: str
    prefix: str
    reads: bool = True
    may_read: Callable[[str], bool] = _any_key
    known_key: str = ""
    scratch: str = ""
    must_list: bool = True
    must_write: bool = False
    multipart: bool = False
    origin: str = ""


@frozen
class Check:
    """One check. `needed`: without it the program does not work. `meaning`: what a failure means for the user."""

    name: str
    run: Callable[[], Finding]
    needed: bool = True
    meaning: str = ""


@dataclass(frozen=True)
class Budget:
    """Time for all checks. `stop` ends them early; cleaning up is never cut short."""

    stop: threading.Event = field(default_factory=threading.Event)
    seconds: float = TIME_LIMIT
    clock: Callable[[], float] = time.monotonic
    started: float = field(default_factory=time.monotonic)

    def why_over(self) -> str:
        """Return why no further check may begin; empty if one may."""
        if self.stop.is_set():
            return "Not tested: the check was stopped."
        return "Not tested: the time limit was reached." if self.clock() - self.started > self.seconds else ""


@frozen
class Reporter:
    """Builds the findings of one bucket."""

    bucket: str

    def ok(self, check: str, text: str, meaning: str = "") -> Finding:
        return Finding(self.bucket, check, Outcome.OK, text, meaning)

    def warning(self, check: str, text: str, meaning: str) -> Finding:
        return Finding(self.bucket, check, Outcome.WARNING, text, meaning)

    def missing(self, check: str, text: str, meaning: str) -> Finding:
        return Finding(self.bucket, check, Outcome.MISSING, text, meaning)

    def skipped(self, check: str, text: str) -> Finding:
        return Finding(self.bucket, check, Outcome.SKIPPED, text)
