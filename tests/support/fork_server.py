"""Loader processes that start fast: a server imports the loader once and forks a child for each.

A child runs `manage.py run_loader` in the same way: its environment is replaced by that of the test, its output goes to
descriptors that arrive with the order, then `manage.main` is called. A start costs a fork and not the start of an
interpreter, which takes most of the time of a short load. Run as a module this is the server; tests use `ForkServer`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import loader
import manage
from tests.support.aircraft import ROOT, Run, bare_environment, start_interpreter
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

ORDER, ANSWER = 200_000, 100  # bytes of a message
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
            self.code = exit_code(self.fork_server.wait_status(self.pid, block=False))
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
            self.code = exit_code(self.fork_server.wait_status(self.pid, block=True))
        assert self.code is not None
        lines = self.printed.read_text().splitlines()
        # The last line of a killed process may be incomplete.
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return Run(self.code, events, self.printed.with_suffix(".err").read_text())


class ForkedPopen(subprocess.Popen[str]):
    """A loader process with pipes like those of `subprocess.Popen`, but forked by the server.

    Only what concerns the child replaces methods of Python 3.11's `Popen`: its creation and `waitpid`.
    """

    def __init__(self, fork_server: ForkServer, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self._fork_server, self._order = fork_server, {"options": options, "environment": dict(environment)}
        super().__init__(["run_loader", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")

    def _execute_child(self, *arguments: Any) -> None:
        pipes = arguments[10:16]  # standard input, output and errors: the end that is read, then the one written
        _, _, _, output, _, errors = pipes
        self.pid = self._fork_server.fork(self._order, output, errors)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        status = self._fork_server.wait_status(self.pid, block=not flags & os.WNOHANG)
        return (0, 0) if status is None else (self.pid, status)

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        code: int | None = super()._internal_poll(  # type: ignore[misc]
            _deadstate, _waitpid=lambda _, flags: self._try_wait(flags)
        )
        return code


class ForkServer:
    """The client of the server process."""

    def __init__(self) -> None:
        self._born = 0
        self._lock = threading.Lock()  # one order and its answer at a time
        # Outside the folder that the invariants search for foreign files.
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server"],
                cwd=ROOT,
                env=bare_environment(),
                stdin=theirs.fileno(),
            )

    def start(
        self, environment: Mapping[str, str], *options: str, boot: Path | None = None, user: int | None = None
    ) -> LoaderProcess:
        """Start a loader. Both `user` and `boot` need root. `user`: a uid to run as, without privileges. `boot`: a file
        with the boot id that the process sees, in its own mount namespace.
        """
        self._born += 1
        printed = Path(self._folder.name) / f"{self._born}.out"
        order = {"options": options, "environment": dict(environment), "boot": str(boot or ""), "user": user}
        # Opened here: a child may be killed before its first instruction, and its output is still read.
        with printed.open("wb") as output, printed.with_suffix(".err").open("wb") as errors:
            return LoaderProcess(self, self.fork(order, output.fileno(), errors.fileno()), printed)

    def popen(self, options: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a loader with pipes; with an interpreter of its own if the environment changes how that starts."""
        own = ("LANG", "LC_", "LD_", "PYTHON")
        if any(name.startswith(own) and os.environ.get(name) != value for name, value in environment.items()):
            return start_interpreter(options, environment)
        return ForkedPopen(self, options, environment)

    def fork(self, order: Mapping[str, object], output: int, errors: int) -> int:
        """Fork a child with these descriptors as its output; return its pid."""
        pid = self._ask(order, output, errors)
        assert pid is not None
        return pid

    def wait_status(self, pid: int, *, block: bool) -> int | None:
        """Return the wait status of a child, once; None if it runs on."""
        if block:
            await_exit(pid)  # not in the server, which serves other threads meanwhile
        return self._ask({"await": pid})

    def _ask(self, order: Mapping[str, object], *descriptors: int) -> int | None:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(order).encode()], descriptors)
            answer = json.loads(self._socket.recv(ANSWER))
        assert answer is None or isinstance(answer, int)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()
        self._folder.cleanup()


def exit_code(status: int | None) -> int | None:
    return None if status is None else os.waitstatus_to_exitcode(status)


def await_exit(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def serve() -> None:
    """Fork and await children as the socket at standard input orders; at its end, kill the remaining ones."""
    for name in (*LAZY_IMPORTS, *(module.name for module in pkgutil.walk_packages(loader.__path__, "loader."))):
        if not name.startswith(("loader.apps", "loader.management")):  # of Django, which `run_loader` does without
            importlib.import_module(name)
    gc.freeze()
    orders = socket.socket(fileno=os.dup(0))
    alive: set[int] = set()
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, ORDER, 2)
        if not order:
            break
        orders.send(json.dumps(_obey(orders, json.loads(order), descriptors, alive)).encode())
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _obey(orders: socket.socket, order: Mapping[str, Any], descriptors: Sequence[int], alive: set[int]) -> int | None:
    if "await" in order:
        pid, status = os.waitpid(order["await"], os.WNOHANG)
        alive.discard(pid)
        return status if pid else None
    born = _bear(orders, order, descriptors)
    alive.add(born)
    for descriptor in descriptors:
        os.close(descriptor)
    return born


def _bear(orders: socket.socket, order: Mapping[str, Any], descriptors: Sequence[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    orders.close()
    for target, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *descriptors)):
        os.dup2(descriptor, target)
        os.close(descriptor)
    if order.get("boot"):
        _start_anew(order["boot"])
    if (user := order.get("user")) is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    os.environ.clear()
    os.environ.update(order["environment"])
    resolve_localhost_names()
    sys.argv = ["manage.py", "run_loader", *order["options"]]
    manage.main()
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
