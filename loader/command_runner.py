"""Runs an operator's command: no shell, limited time and output, none of the loader's secrets.

The command gets its own process group, so that its child processes end with it. The caller
(`loader.network.link_monitor`, `loader.hooks.runner`) interprets the result.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from loader.frozen import frozen

OUTPUT_LIMIT: Final = 1024  # bytes stored of the start and of the end of the output
_GRACE: Final = 1.0  # seconds between SIGTERM and SIGKILL
_TICK: Final = 0.25  # seconds within which a stop is noticed
_SECRET: Final = re.compile(r"AWS_|.*(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|_KEY)|(DATABASE|REDIS|EMAIL)_URL", re.I)
_PROXY: Final = re.compile(r"(?:https?|all)_proxy", re.I)
_URL_WITH_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]*@", re.I)


@frozen
class CommandResult:
    """Result of a command.

    `exit_status`: as `Popen.returncode`, None if the command did not start. `problem`: why it did not start or did not
    end by itself, or empty. `first` and `last`: start and end of the output. `stopped`: the loader ended it.
    """

    exit_status: int | None
    problem: str = ""
    first: bytes = b""
    last: bytes = b""
    stopped: bool = False

    @property
    def succeeded(self) -> bool:
        return self.exit_status == 0 and not self.problem and not self.stopped

    @property
    def first_lines(self) -> list[str]:
        """The lines at the start of the output, without empty ones, escaped."""
        return _printable_lines(self.first)

    @property
    def last_lines(self) -> list[str]:
        """The lines at the end of the output, without empty ones, escaped."""
        return _printable_lines(self.last)

    def __str__(self) -> str:
        if self.problem or self.exit_status is None:
            return self.problem
        if self.exit_status < 0:
            return f"ended by {_signal_name(-self.exit_status)}"
        return f"exit status {self.exit_status}"


@dataclass(slots=True)
class _HeadAndTail:
    """The first and the last bytes of an output of any length, at most OUTPUT_LIMIT each."""

    first: bytearray = field(default_factory=bytearray)
    last: bytearray = field(default_factory=bytearray)

    def add(self, block: bytes) -> None:
        self.first += block[: OUTPUT_LIMIT - len(self.first)]
        self.last += block
        del self.last[:-OUTPUT_LIMIT]


def run_command(command: Sequence[str], seconds: float, stop: Event) -> CommandResult:
    """Run a command until it ends, `seconds` are over or `stop` is set; then end its process group."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=without_secrets(os.environ),
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return CommandResult(None, f"cannot be run: {reason}")
    output_ends, stopped = _HeadAndTail(), False
    with process:
        ended = _collect_output(process, output_ends, time.monotonic() + seconds, stop)
        if not ended:
            stopped = stop.is_set()
            kill_process_group(process)
        _read_rest(process, output_ends)
    problem = "" if ended or stopped else f"took longer than {seconds:.0f} s and was ended"
    return CommandResult(process.returncode, problem, bytes(output_ends.first), bytes(output_ends.last), stopped)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without AWS variables, secrets and URLs with a password."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET.match(name)
        and not _URL_WITH_PASSWORD.match(value.strip())
        and not (_PROXY.fullmatch(name) and "@" in value)  # the address of a proxy needs no scheme
    }


def kill_process_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the process group, SIGKILL a second later, and wait for the process."""
    _send_signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    # Child processes may outlive it.
    _send_signal(process, signal.SIGKILL)
    process.wait()


def _send_signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _collect_output(process: subprocess.Popen[bytes], output_ends: _HeadAndTail, deadline: float, stop: Event) -> bool:
    """Read the output until the process ends; False if time is over or `stop` is set.

    The end of the output is not awaited: a child process may keep it open.
    """
    with selectors.DefaultSelector() as selector:
        output, end = _output_descriptor(process), os.pidfd_open(process.pid)
        try:
            selector.register(output, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(min(left, _TICK))}
                if output in ready and _read_block(output, output_ends) == 0:
                    selector.unregister(output)
                if end in ready:
                    process.wait()
                    return True
        finally:
            os.close(end)
    return False


def _output_descriptor(process: subprocess.Popen[bytes]) -> int:
    if process.stdout is None:
        raise AssertionError("the output was requested as a pipe")
    os.set_blocking(process.stdout.fileno(), False)
    return process.stdout.fileno()


def _read_block(output: int, collected: _HeadAndTail) -> int:
    """Read one block and return its length in bytes: 0 at the end of the output, -1 if there is nothing to read now."""
    try:
        block = os.read(output, 65_536)
    except BlockingIOError:
        return -1
    collected.add(block)
    return len(block)


def _read_rest(process: subprocess.Popen[bytes], output_ends: _HeadAndTail) -> None:
    """Read what is left, in a limited number of blocks: a child process may go on writing."""
    for _ in range(16):  # blocks of 64 KiB: a pipe holds at most 1 MiB
        if _read_block(_output_descriptor(process), output_ends) <= 0:
            return


def _printable_lines(output: bytes) -> list[str]:
    """Return the lines that are not blank, with unprintable characters escaped."""
    lines = (line.strip() for line in output.decode(errors="replace").splitlines())
    return ["".join(map(_visible, line)) for line in lines if line]


def _visible(character: str) -> str:
    return character if character.isprintable() else f"\\x{ord(character):02x}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
