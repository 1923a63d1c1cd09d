"""Run whole processes one after the other and measure their cost. Touches the folders and processes it is given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_BLOCK: Final = 1 << 20
_MAX_OUTPUT: Final = 2000  # bytes of a failed process's output to report


class MeasurementError(Exception):
    """A measured process failed; `str()` names the process and shows its output."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a process and its children: seconds, seconds of CPU, peak memory of the largest in bytes."""

    wall: float
    cpu: float
    rss: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of doing a job. `command` and `environment` are called for each run with its empty folder and number.

    `check` examines the folder after a run and raises MeasurementError.
    """

    name: str
    command: Callable[[Path, int], Sequence[str | Path]]
    environment: Callable[[Path, int], Mapping[str, str]]
    check: Callable[[Path], None] = lambda folder: None


def run(command: Sequence[str | Path], environment: Mapping[str, str], *, seconds: float = 3600.0) -> Cost:
    """Run a command in the project's folder. Raises MeasurementError if it does not exit with 0, TimeoutExpired."""
    with subprocess.Popen(
        [sys.executable, "-S", "-E", LAUNCHER, *command],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as launcher:
        try:
            output, errors = launcher.communicate(timeout=seconds)
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)  # its children too, which would continue to run
    if launcher.returncode:
        raise MeasurementError(f"{command[0]} could not be started:\n{_tail(errors)}")
    cost = json.loads(output)
    if cost.pop("code"):
        raise MeasurementError(f"{' '.join(map(str, command))[:200]} failed:\n{_tail(errors)}")
    return Cost(**cost)


def _tail(output: bytes) -> str:
    return output[-_MAX_OUTPUT:].decode(errors="replace")


def run_interleaved(
    variants: Sequence[Variant], runs: int, folder: Path, *, touch: int, log: Callable[[str], None], warm: int = 1
) -> dict[str, list[Cost]]:
    """Run every variant `runs` times, A B C A B C …, each in a new folder. Raises MeasurementError.

    The first `warm` rounds are not counted. `touch` is the number of page cache bytes that each run needs; see
    `fill_page_cache`.
    """
    costs: dict[str, list[Cost]] = {variant.name: [] for variant in variants}
    with tempfile.TemporaryDirectory(dir=folder, prefix="targets-") as targets:
        for number in range(runs + warm):
            for variant in variants:
                target = Path(tempfile.mkdtemp(dir=targets))
                try:
                    fill_page_cache(folder, touch)
                    cost = run(variant.command(target, number), variant.environment(target, number))
                    variant.check(target)
                finally:
                    empty_files(target)
                log(f"  [{number}] {variant.name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.rss >> 20} MiB")
                if number >= warm:
                    costs[variant.name].append(cost)
    return costs


def empty_files(folder: Path) -> None:
    """Free the space of all files below a folder, without deleting them.

    Before ext4 without a journal creates a file, it passes over every inode that was deleted in the last minute: files
    deleted after one run would slow the next one.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


def fill_page_cache(folder: Path, size: int) -> None:
    """Sync all files, then fill and drop `size` bytes of page cache.

    In a virtual machine the host allocates memory when it is first touched. The first process to write a file would
    take two to four times as long.
    """
    os.sync()
    path, block = folder / "pretouch", bytes(_BLOCK)
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(size // _BLOCK):
                file.write(block)
    finally:
        path.unlink(missing_ok=True)
