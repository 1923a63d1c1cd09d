"""The whole portal on this machine, in processes of their own: daphne, qcluster, pacemaker; and commands beside them.

Needs no Django where it is imported. The store, its two buckets and the database are given.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar
from urllib.request import urlopen

from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds; only what is broken takes that long
T = TypeVar("T")


def wait_for(what: str, ready: Callable[[], T | None], seconds: float = PATIENCE) -> T:
    """Ask every 20 ms until the answer is neither None nor false. Raises AssertionError when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """The same until it is true of whatever it answers. Raises AssertionError when the time is up."""
    wait_for("what was awaited", lambda: bool(condition()), seconds)


def answers(address: str, portal: Process) -> bool:
    """Whether the portal answers yet. Raises AssertionError when its process has ended."""
    try:
        with urlopen(f"{address}/login/", timeout=PATIENCE):
            return True
    except OSError:  # nobody listens, or who does is not ready
        assert portal.ended is None, portal.log_tail()
        return False


class System:
    """Use as a context manager: what was started is stopped. `settings` as in the environment, among them the store."""

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
        """All three, in the order in which they are stopped."""
        return [self.pacemaker, self.jobs, self.portal]

    def manage(self, *arguments: str | Path, **more: str) -> str:
        """Run a command to its end; what it printed. Raises AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def start(self) -> None:
        """Start all three and wait until the portal answers."""
        for process in self.processes:
            self._supervisor.start(process)
        wait_for("the portal answers", lambda: answers(self.address, self.portal))

    def logs(self) -> dict[str, str]:
        """What each has said so far."""
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
        )


def of_session(leader: int) -> list[str]:
    """The processes that live in the session of a leader: itself, and what it or its children left behind."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (process / "cmdline").read_bytes()
        except OSError:  # ended meanwhile
            continue
        if state != "Z" and int(session) == leader:
            found.append(os.fsdecode(command).replace("\0", " "))
    return found
