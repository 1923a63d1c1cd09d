"""The complete portal on this machine, one process each for daphne, qcluster and pacemaker; and commands.

Importing it needs no Django. The store, its two buckets and the database are given.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar
from urllib.request import urlopen

from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port
from tests.support.portal_forks import popen, run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds; only a fault takes that long
T = TypeVar("T")


def wait_for(what: str, ready: Callable[[], T | None], seconds: float = PATIENCE, step: float = 0.02) -> T:
    """Call `ready` every `step` seconds until it returns neither None nor False.

    Choose a longer step for what costs much. Raises AssertionError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(step)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until the condition is true. Raises AssertionError after `seconds`."""
    wait_for("the condition", lambda: bool(condition()), seconds)


def is_answering(address: str, portal: Process, path: str = "/login/") -> bool:
    """Return whether the portal responds yet. Raises AssertionError if its process has exited."""
    try:
        with urlopen(f"{address}{path}", timeout=PATIENCE):
            return True
    except OSError:  # not listening or not ready yet
        assert portal.ended is None, portal.log_tail()
        return False


class PortalSystem:
    """The processes of a portal. Use as a context manager, which stops them. `settings` are environment variables."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://{LOOPBACK}:{self.port}"
        self.environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "DEBUG": "1", **settings}
        daphne = ["-m", "daphne", "-b", LOOPBACK, "-p", str(self.port), "ifeportal.asgi:application"]
        self.portal = self._process("portal", *daphne)
        self.jobs = self._process("jobs", "manage.py", "qcluster")
        self.pacemaker = self._process("pacemaker", "manage.py", "pacemaker", stage=1)
        self._supervisor = Supervisor()

    @property
    def processes(self) -> list[Process]:
        """Return all three, in the order in which they are stopped."""
        return [self.pacemaker, self.jobs, self.portal]

    def manage(self, *arguments: str | Path, **more: str) -> str:
        """Run a command and return its output. Raises AssertionError if it fails."""
        command = [sys.executable, "manage.py", *arguments]
        done = run(command, env=self.environment | more, timeout=2 * PATIENCE)
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def start(self) -> None:
        """Start all three and wait until the portal responds."""
        for process in self.processes:
            self._supervisor.start(process)
        wait_for("the portal answers", lambda: is_answering(self.address, self.portal))

    def logs(self) -> dict[str, str]:
        """Return the log of each process so far."""
        return {process.name: process.log.read_text() for process in self.processes if process.log.exists()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()

    def _process(self, name: str, *arguments: str, stage: int = 0) -> Process:
        return Process(
            name,
            [sys.executable, *arguments],
            log=self.folder / f"{name}.log",
            environment=self.environment,
            folder=ROOT,
            stage=stage,
            popen=popen,
        )


def session_processes(leader: int) -> list[str]:
    """Return the commands of all processes in a leader's session, including orphans."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (process / "cmdline").read_bytes()
        except OSError:  # exited meanwhile
            continue
        if state != "Z" and int(session) == leader:
            found.append(os.fsdecode(command).replace("\0", " "))
    return found
