"""The cost of one polling cycle as measured inside the polling process, and a handle for that process."""

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

# Django must be set up before its models are imported.
START: Final = "import django; django.setup(); from benchmarks.polling.resident import main; main()"
STOP_TIMEOUT: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Cycle:
    """Seconds, seconds of CPU, and peak memory in bytes so far, of the polling process.

    Requests are counted by bucket. `writes` are the writing statements without those for the lease of the job
    (`lease_writes`); `statements` are all.
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
    listed: int
    changed: int
    transfers: int


class PollingProcess:
    """A process that polls one airline on request, like a worker. Use as a context manager."""

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
        """Close its input, which ends it."""
        try:
            self._process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def poll(self, profile: Path | None = None) -> Cycle:
        """Run one cycle. `profile` is a file for a profile, which slows the cycle. Raises MeasurementError."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{profile or ''}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise MeasurementError("the polling process has ended; its output is above")
        return Cycle(**json.loads(answer))
