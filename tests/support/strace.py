"""Run the real command under strace to record its system calls or make them fail. Needs Debian's `strace`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.aircraft import ROOT, Aircraft, Run, wait_for_exit

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)")


@dataclass(frozen=True)
class SystemCall:
    """One system call: line numbers of its start and end in the trace, and its arguments with paths for descriptors."""

    name: str
    arguments: str
    began: int
    ended: int
    injected: bool


def start_under(prefix: Sequence[str], aircraft: Aircraft, *options: str, **more: str) -> subprocess.Popen[str]:
    """Start the command as a child of another program such as strace; the caller waits for it or ends it."""
    return subprocess.Popen(
        [*prefix, sys.executable, "manage.py", "run_loader", *options],
        cwd=ROOT,
        env=aircraft.environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_traced(
    aircraft: Aircraft, trace: Path, calls: str, *options: str, inject: str = "", path: Path | None = None
) -> Run:
    """Run `run_loader --once` and record these system calls, or make them fail on one path with `inject`."""
    prefix = ["strace", "-f", "-qq", "-y", "-s", "256", "-o", str(trace), "-e", f"trace={calls}", "-e", "signal=none"]
    if inject:
        prefix += ["-e", f"inject={calls}:{inject}"]
    if path is not None:
        prefix += ["-P", str(path)]
    return wait_for_exit(start_under([*prefix, *options], aircraft, "--once"))


def read_trace(trace: Path) -> list[SystemCall]:
    """Return the calls in the order of their end."""
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    found = []
    for at, line in enumerate(trace.read_text(errors="replace").splitlines()):
        if match := _BEGUN.fullmatch(line):
            begun[match[1], match[2]] = (at, match[3])
        elif match := _ENDED.fullmatch(line):
            began, arguments = begun.pop((match[1], match[2]))
            found.append(SystemCall(match[2], arguments + match[3], began, at, "INJECTED" in match[5]))
        elif match := _WHOLE.fullmatch(line):
            found.append(SystemCall(match[2], match[3], at, at, "INJECTED" in match[5]))
    return found
