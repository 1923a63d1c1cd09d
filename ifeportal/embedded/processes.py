"""Child processes with log files and ordered shutdown, which never outlive their parent.

For the demo and the tests; production uses systemd or containers. Touches the processes it started, their log files,
and free ports of the loopback interface.

Stopping sends SIGTERM only to the process itself (django-q2 hangs if its workers get it too), waits, then kills the
rest of its process group. Children lead their own sessions, so a Ctrl-C in the terminal reaches only the supervisor. If
the supervisor is killed, the kernel sends SIGTERM to each child: `setpriv` requests this between fork and exec, which
Python cannot do safely in a program with threads. The kernel watches the *thread* that started the child, so start
children from a thread that lives as long as the program.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

LOOPBACK: Final = "127.0.0.1"
# Below Linux's ephemeral ports (32768 and up), so that no outgoing connection takes one of them. SeaweedFS also uses
# each port plus 10,000, which this range must not contain.
PORTS: Final = range(11_000, 21_000)
_SETPRIV: Final = shutil.which("setpriv")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(preferred: int | None = None) -> int:
    """Return `preferred` if it is free, otherwise any free port. Another process may still take it. Raises OSError."""
    if preferred is not None and is_free(preferred):
        return preferred
    for port in random.sample(PORTS, 200):
        if is_free(port):
            return port
    raise OSError("no free port on the loopback interface")


class Process:
    """A child process. Each start begins a new `log`; the previous one becomes `<log>.1`.

    `stage`: processes of the highest stage are stopped first, all at once. `stop_timeout`: seconds between SIGTERM and
    SIGKILL. `popen` creates the child.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stage: int = 0,
        stop_timeout: float = 10.0,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.environment = environment
        self.folder = folder
        self.stage = stage
        self.stop_timeout = stop_timeout
        self.popen = popen
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._reaped = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs, otherwise None."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def ended(self) -> int | None:
        """The exit code (negative: the signal) if it exited without being stopped, otherwise None."""
        return None if self._child is None or self._stopping else self._child.poll()

    def start(self) -> None:
        """Start it, or start it again. Raises OSError."""
        self._stopping = self._reaped = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        wrapper = [_SETPRIV, "--pdeathsig", "TERM", "--"] if _SETPRIV else []
        with self.log.open("wb") as log:
            self._child = self.popen(
                [*wrapper, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ if self.environment is None else self.environment),
                cwd=self.folder,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the process, which is expected to exit."""
        self._stopping = True
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)

    def wait(self) -> int | None:
        """Wait at most `stop_timeout` seconds for the exit, kill its process group, and return the exit code."""
        if self._child is None:
            return None
        if self._reaped:  # its id may belong to another process by now
            return self._child.returncode
        try:
            code = self._child.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._reaped = True
        return code

    def stop(self) -> int | None:
        """Stop it with SIGTERM, then SIGKILL, and return its exit code."""
        self.signal()
        return self.wait()

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of its log; empty if there is none."""
        try:
            text = self.log.read_bytes()[-16_384:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Supervisor:
    """Processes that belong together. Leaving the `with` block stops them, also after an exception."""

    def __init__(self) -> None:
        self.processes: list[Process] = []

    def start(self, process: Process) -> Process:
        """Start a process and supervise it. Raises OSError."""
        process.start()
        if process not in self.processes:
            self.processes.append(process)
        return process

    def ended(self) -> list[Process]:
        """Return the processes that exited without being stopped."""
        return [process for process in self.processes if process.ended is not None]

    def stop(self) -> None:
        """Stop all processes, the highest stage first, those of one stage together."""
        for stage in sorted({process.stage for process in self.processes}, reverse=True):
            together = [process for process in self.processes if process.stage == stage]
            with ExitStack() as waits:  # every process is waited for, even if an interrupt ends one of the waits
                for process in together:
                    waits.callback(process.wait)
                    process.signal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_until_listening(port: int, process: Process, seconds: float = 30.0) -> None:
    """Wait for a server on the loopback interface. Raises TimeoutError, or OSError if the process exits first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        if process.ended is not None:
            raise OSError(f"{process.name} exited at startup (code {process.ended}):\n{process.log_tail()}")
        time.sleep(0.05)
    raise TimeoutError(f"{process.name} is not listening on port {port} after {seconds:.0f} s:\n{process.log_tail()}")
