"""Loaders that are born fast: a process imports the loader once and forks a child for each life.

A child does what `manage.py run_loader` does, by the same way: its environment is replaced by the one of the test, then
the arguments go to Django's `execute_from_command_line`. Nothing is executed anew, so that a life costs a fork instead
of the start of an interpreter. As a module it is that process; tests use `Nursery`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import django
from django.core.management import execute_from_command_line

import loader
from tests.support.aircraft import ROOT, Run, bare_environment

# What the loader imports only when it needs it.
LATER = (
    "encodings.idna",
    "encodings.utf_8_sig",
    "boto3",
    "botocore.client",
    "botocore.handlers",
    "botocore.auth",
    "urllib3",
    "rich.progress",
)

BOOT_ID = b"/proc/sys/kernel/random/boot_id"
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x00020000, 4096, 16384, 1 << 18


@dataclass
class Life:
    """One loader. It stays a child of the nursery, so that its number is no other's until `end` was called."""

    nursery: Nursery
    pid: int
    printed: Path
    code: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over; does not wait."""
        if self.code is None:
            self.code = self.nursery.ask({"await": self.pid, "block": False})
        return self.code is not None

    def send(self, number: signal.Signals) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill -9 and await the end; False if it had ended by itself."""
        self.send(signal.SIGKILL)
        return self.end().code == -signal.SIGKILL

    def end(self) -> Run:
        """Await the end."""
        if self.code is None:
            self.code = self.nursery.ask({"await": self.pid, "block": True})
        assert self.code is not None
        lines = self.printed.read_text().splitlines()
        # A killed process may leave half a line.
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return Run(self.code, events, self.printed.with_suffix(".err").read_text())


class Nursery:
    """The process, seen from a test. Used by one thread."""

    def __init__(self) -> None:
        self._born = 0
        # Not where the test looks for strangers.
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=ROOT,
            env=bare_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self, environment: Mapping[str, str], *options: str, boot: Path | None = None, user: int | None = None
    ) -> Life:
        """A new life. `user`: who it is to be, without any privilege; `boot`: a file with the boot id it is to see,
        in a mount namespace of its own. Both need root.
        """
        self._born += 1
        printed = Path(self._folder.name) / f"{self._born}.out"
        order = {"options": options, "environment": dict(environment), "printed": str(printed)}
        pid = self.ask({**order, "boot": str(boot or ""), "user": user})
        assert pid is not None
        return Life(self, pid, printed)

    def ask(self, order: Mapping[str, object]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer is None or isinstance(answer, int)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()


def serve() -> None:
    """Fork and await children as the lines on standard input say; at their end, end those that live."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "ifeportal.settings_aircraft"
    django.setup()
    for name in (*LATER, *(module.name for module in pkgutil.walk_packages(loader.__path__, "loader."))):
        importlib.import_module(name)
    gc.freeze()
    alive: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "await" in order:
            pid, status = os.waitpid(order["await"], 0 if order["block"] else os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            alive.discard(pid)
        else:
            answer = _bear(order)
            alive.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _bear(order: Mapping[str, object]) -> int:
    null, printed = Path(os.devnull), Path(str(order["printed"]))
    # Opened before the fork: a child may be killed before its first instruction, and its output is read all the same.
    with null.open("rb") as nothing, printed.open("wb") as out, printed.with_suffix(".err").open("wb") as err:
        pid = os.fork()
        if pid:
            return pid
        for target, file in enumerate((nothing, out, err)):
            os.dup2(file.fileno(), target)
    if order["boot"]:
        _start_anew(str(order["boot"]))
    if isinstance(user := order["user"], int):
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    environment, options = order["environment"], order["options"]
    assert isinstance(environment, dict)
    assert isinstance(options, list)
    os.environ.clear()
    os.environ.update(environment)
    execute_from_command_line(["manage.py", "run_loader", *options])
    os._exit(0)


def _start_anew(boot: str) -> None:
    """Let this process, and no other, see another boot id."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    for result in (
        libc.unshare(_CLONE_NEWNS),
        libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None),
        libc.mount(boot.encode(), BOOT_ID, None, _MS_BIND, None),
    ):
        if result:
            raise OSError(ctypes.get_errno(), "cannot show another boot id")


if __name__ == "__main__":
    serve()
