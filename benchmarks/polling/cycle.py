"""One cycle of polling, as measured in the process that polls; and that process, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.shared.processes import ROOT, MeasurementError

# Django has to be set up before its models are imported.
START: Final = "import django; django.setup(); from benchmarks.polling.resident import main; main()"
STOP_TIMEOUT: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Cycle:
    """Seconds, seconds of CPU (of the process that polls), its peak of memory so far in bytes.

    Requests are told apart by bucket. `writes` are statements that write into the database, without those that keep the
    lease of the job (`lease_writes`); `statements` are all.
    """

    wall: float
    cpu: float
    rss: int
    status_lists: int
    status_gets: int
    media_lists: int
    media_gets: int
    statements: int
    writes: int
    lease_writes: int
    seen: int
    changed: int
    transfers: int


class PollingProcess:
    """A process that polls one airline when it is told, as a worker does. Use as a context manager."""

    def __init__(self, airline: str, environment: Mapping[str, str]) -> None:
        self._airline, self._environment = airline, dict(environment)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, self._airline],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """It ends when there is nothing more to read."""
        try:
            self._process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def poll(self, profile: Path | None = None) -> Cycle:
        """One cycle. `profile`: a file to write where the time went, which costs some. Raises Failed."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{profile or ''}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise MeasurementError("the process that polls has ended; what it said stands above")
        return Cycle(**json.loads(answer))
