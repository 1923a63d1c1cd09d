"""Runs an operator's command: no shell, bounded time and output, none of the loader's secrets.

The command gets a process group of its own, so that whatever it started ends with it. What the result means is
decided by the caller (`loader.network.link_monitor`, `loader.hooks.runner`).
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

OUTPUT_LIMIT: Final = 1024  # bytes of the first and of the last output
_GRACE: Final = 1.0  # seconds between asking a command to end and ending it
_TICK: Final = 0.25  # seconds; how soon a stop is noticed
_SECRET: Final = re.compile(r"AWS_|.*(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|_KEY)|(DATABASE|REDIS|EMAIL)_URL", re.I)
_URL_WITH_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]*@", re.I)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How it ended. `exit_status`: as of `Popen`, None if it never ran; `problem`: empty, or why there was no proper
    end.
    """

    exit_status: int | None
    problem: str = ""
    first: bytes = b""
    last: bytes = b""
    stopped: bool = False

    @property
    def succeeded(self) -> bool:
        """It ran to its end and is content."""
        return self.exit_status == 0 and not self.problem and not self.stopped

    @property
    def first_lines(self) -> list[str]:
        """The lines of its first output that say something, escaped."""
        return _printable_lines(self.first)

    @property
    def last_lines(self) -> list[str]:
        """Those of its last output."""
        return _printable_lines(self.last)

    def __str__(self) -> str:
        if self.problem or self.exit_status is None:
            return self.problem
        if self.exit_status < 0:
            return f"ended by {_signal_name(-self.exit_status)}"
        return f"exit status {self.exit_status}"


@dataclass(slots=True)
class _HeadAndTail:
    """The first and the last bytes of an output of any length."""

    first: bytearray = field(default_factory=bytearray)
    last: bytearray = field(default_factory=bytearray)

    def add(self, block: bytes) -> None:
        self.first += block[: OUTPUT_LIMIT - len(self.first)]
        self.last += block
        del self.last[:-OUTPUT_LIMIT]


def run_command(command: Sequence[str], seconds: float, stop: Event) -> CommandResult:
    """Run it to its end, for at most `seconds`, or until `stop`; then its process group is ended."""
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
    """What a command may know of our environment: nothing of AWS, no secret, no address with a password in it."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET.match(name) and not _URL_WITH_PASSWORD.match(value.strip())
    }


def kill_process_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and all it started to end, and a second later make them. It has been awaited afterwards."""
    _send_signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    # Its children may live on without it.
    _send_signal(process, signal.SIGKILL)
    process.wait()


def _send_signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _collect_output(process: subprocess.Popen[bytes], output_ends: _HeadAndTail, deadline: float, stop: Event) -> bool:
    """Read what it says until it ends (not until its output does: a child may hold that). False: it has to be ended."""
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
        raise AssertionError("its output was asked for")
    os.set_blocking(process.stdout.fileno(), False)
    return process.stdout.fileno()


def _read_block(output: int, collected: _HeadAndTail) -> int:
    """Read one block and say how long it was: 0 at the end of the output, -1 if there is nothing now."""
    try:
        block = os.read(output, 65_536)
    except BlockingIOError:
        return -1
    collected.add(block)
    return len(block)


def _read_rest(process: subprocess.Popen[bytes], output_ends: _HeadAndTail) -> None:
    """What it said last; a child of its that goes on talking is not listened to."""
    for _ in range(16):  # blocks: no pipe holds more than a mebibyte
        if _read_block(_output_descriptor(process), output_ends) <= 0:
            return


def _printable_lines(output: bytes) -> list[str]:
    """Those that say something, with every character that cannot be seen made visible."""
    lines = (line.strip() for line in output.decode(errors="replace").splitlines())
    return ["".join(map(_visible, line)) for line in lines if line]


def _visible(character: str) -> str:
    return character if character.isprintable() else f"\\x{ord(character):02x}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
