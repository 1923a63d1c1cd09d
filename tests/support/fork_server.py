"""Loader processes that start fast: a server imports the loader once and forks a child for each.

A child runs `manage.py run_loader` in the same way: its environment is replaced by that of the test, then the arguments
go to Django's `execute_from_command_line`. A start costs a fork and not the start of an interpreter. Run as a module
this is the server; tests use `ForkServer`.
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
from tests.support.localhost_names import resolve_localhost_names

# Modules that the loader imports lazily.
LAZY_IMPORTS = (
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
class LoaderProcess:
    """One loader process. Its pid stays reserved until `end` was called, because it is a child of the server."""

    fork_server: ForkServer
    pid: int
    printed: Path
    code: int | None = None

    @property
    def ended(self) -> bool:
        """Return whether the process has exited, without waiting."""
        if self.code is None:
            self.code = self.fork_server.ask({"await": self.pid, "block": False})
        return self.code is not None

    def send(self, number: signal.Signals) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """Send SIGKILL and wait; return False if the process had exited by itself."""
        self.send(signal.SIGKILL)
        return self.end().code == -signal.SIGKILL

    def end(self) -> Run:
        """Wait for the exit."""
        if self.code is None:
            self.code = self.fork_server.ask({"await": self.pid, "block": True})
        assert self.code is not None
        lines = self.printed.read_text().splitlines()
        # The last line of a killed process may be incomplete.
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return Run(self.code, events, self.printed.with_suffix(".err").read_text())


class ForkServer:
    """The client of the server process. For one thread."""

    def __init__(self) -> None:
        self._born = 0
        # Outside the folder that the invariants search for foreign files.
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
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
    ) -> LoaderProcess:
        """Start a loader. Both `user` and `boot` need root. `user`: a uid to run as, without privileges. `boot`: a file
        with the boot id that the process sees, in its own mount namespace.
        """
        self._born += 1
        printed = Path(self._folder.name) / f"{self._born}.out"
        order = {"options": options, "environment": dict(environment), "printed": str(printed)}
        pid = self.ask({**order, "boot": str(boot or ""), "user": user})
        assert pid is not None
        return LoaderProcess(self, pid, printed)

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
    """Fork and await children as standard input requests; at its end, kill the remaining ones."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "ifeportal.settings_aircraft"
    django.setup()
    for name in (*LAZY_IMPORTS, *(module.name for module in pkgutil.walk_packages(loader.__path__, "loader."))):
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
    # Open before the fork: a child may be killed before its first instruction, and its output is still read.
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
    resolve_localhost_names()
    execute_from_command_line(["manage.py", "run_loader", *options])
    os._exit(0)


def _start_anew(boot: str) -> None:
    """Bind-mount another boot id for this process only."""
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
