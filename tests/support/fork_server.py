"""Processes that start fast: a server imports modules once and forks a child for each process.

A child runs a command of Python (`manage.py ...`, `-m ...` or `-c ...`) in the same way: its environment is replaced by
that of the test, its standard streams are descriptors that arrive with the order, then the command's code is called. A
start costs a fork and not the start of an interpreter, which takes most of the time of a short command. Run as a module
this is the server, for the loader or for the modules that its arguments name; tests use `ForkServer`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
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
_PR_SET_PDEATHSIG = 1


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


class ForkedPopen(subprocess.Popen[Any]):
    """A process like one of `subprocess.Popen`, but forked by the server. `command` is what follows `python`.

    Only what concerns the child replaces methods of Python 3.11's `Popen`: its creation and `waitpid`.
    """

    def __init__(
        self, fork_server: ForkServer, command: Sequence[str], environment: Mapping[str, str], **options: Any
    ) -> None:
        self._fork_server = fork_server
        self._order: dict[str, object] = {"command": command, "environment": dict(environment)}
        super().__init__(command, **options)

    def _execute_child(self, *arguments: Any) -> None:
        pipes = arguments[10:16]  # standard input, output and errors: the end that is read, then the one written
        streams = [number if own == -1 else own for number, own in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = self._fork_server.fork({**self._order, "session": arguments[21]}, *streams)
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
    """The client of the server process, which imports these modules; without any, those of the loader."""

    def __init__(self, *imports: str) -> None:
        self._born = 0
        self._lock = threading.Lock()  # one order and its answer at a time
        # Outside the folder that the invariants search for foreign files.
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", *imports],
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
        command = ["manage.py", "run_loader", *options]
        order = {"command": command, "environment": dict(environment), "boot": str(boot or ""), "user": user}
        # Opened here: a child may be killed before its first instruction, and its output is still read.
        with (
            Path(os.devnull).open("rb") as none,
            printed.open("wb") as output,
            printed.with_suffix(".err").open("wb") as errors,
        ):
            return LoaderProcess(self, self.fork(order, none.fileno(), output.fileno(), errors.fileno()), printed)

    def popen(self, options: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a loader with pipes; with an interpreter of its own if the environment changes how that starts."""
        if needs_interpreter(environment):
            return start_interpreter(options, environment)
        return ForkedPopen(
            self,
            ["manage.py", "run_loader", *options],
            environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def fork(self, order: Mapping[str, object], *streams: int) -> int:
        """Fork a child with these descriptors as its standard streams; return its pid."""
        pid = self._ask(order, *streams)
        assert pid is not None
        return pid

    def wait_status(self, pid: int, *, block: bool) -> int | None:
        """Return the wait status of a child, once; None if it runs on."""
        if self._socket.fileno() == -1:  # the server killed its children when it ended
            return signal.SIGKILL
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
        self.close()

    def close(self) -> None:
        """End the server, which kills its children."""
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


def needs_interpreter(environment: Mapping[str, str]) -> bool:
    """Return whether an environment changes how Python starts, so that no fork can replace it."""
    changed = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    return any(
        (name.startswith(("LD_", "PYTHON")) and name != "PYTHONUNBUFFERED")
        or (name.startswith(("LANG", "LC_")) and value != "C.UTF-8")
        for name, value in changed.items()
    )


def loader_modules() -> Iterator[str]:
    yield from LAZY_IMPORTS
    for module in pkgutil.walk_packages(loader.__path__, "loader."):
        if not module.name.startswith(("loader.apps", "loader.management")):  # of Django, which `run_loader` has not
            yield module.name


def serve(modules: Sequence[str]) -> None:
    """Fork and await children as the socket at standard input orders; at its end, kill the remaining ones."""
    if not modules:
        resolve_localhost_names()
    for name in modules or loader_modules():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    orders = socket.socket(fileno=os.dup(0))
    alive: set[int] = set()
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, ORDER, 3)
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
    """Fork a child; return when it is set up, as `subprocess.Popen` does."""
    ready, is_set_up = os.pipe()
    pid = os.fork()
    if pid:
        os.close(is_set_up)
        os.read(ready, 1)
        os.close(ready)
        return pid
    orders.close()
    os.close(ready)
    _set_up(order, descriptors)
    os.close(is_set_up)
    _run(order["command"])
    sys.exit()


def _set_up(order: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    if order.get("session"):
        os.setsid()
    if order.get("boot"):
        _start_anew(order["boot"])
    if (user := order.get("user")) is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    sys.stdout.reconfigure(line_buffering="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]


def _run(command: Sequence[str]) -> None:
    """Run what follows `python` on a command line."""
    sys.orig_argv = [sys.executable, *command]
    first, *more = command
    if first == "-m":
        sys.argv = more
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = [first, *more[1:]]
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(more[0], module.__dict__)
    else:
        sys.argv = [*command]
        manage.main()


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
    serve(sys.argv[1:])
