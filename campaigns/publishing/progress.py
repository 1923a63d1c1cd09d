"""Progress of publishing and its display: bars on a terminal, plain lines in a file or pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Self, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

LINE_INTERVAL: Final = 5.0  # seconds between two lines about one file


class PlainProgress:
    """Writes a line when a file starts, every `LINE_INTERVAL` seconds, and for every notice. Thread-safe."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._lock = threading.Lock()
        self._done = 0
        self._written_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, step: PublishProgress) -> None:
        with self._lock:
            if step.phase == "notice":
                self._write(f"note: {step.name}")
            elif not step.advanced:
                self._done, self._written_at = 0, self._clock()
                self._write(f"{step.phase} {step.name} ({decimal(step.size)})")
            else:
                self._done += step.advanced
                if self._clock() - self._written_at >= LINE_INTERVAL:
                    self._written_at = self._clock()
                    self._write(f"{step.phase} {step.name}: {decimal(self._done)} of {decimal(step.size)}")


class TerminalProgress:
    """Shows a bar for each file. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, step: PublishProgress) -> None:
        with self._lock:
            if step.phase == "notice":
                self._progress.console.print(f"note: {escape(step.name)}")
                return
            task = self._tasks.get((step.phase, step.name))
            if task is None:
                self._remove_finished()
                task = self._progress.add_task(f"{step.phase} {escape(step.name)}", total=step.size)
                self._tasks[step.phase, step.name] = task
            self._progress.advance(task, step.advanced)

    def _remove_finished(self) -> None:
        # The bars of a thousand files do not fit on a screen.
        for key, task in list(self._tasks.items()):
            if self._progress.tasks and all(shown.id != task or shown.finished for shown in self._progress.tasks):
                self._progress.remove_task(task)
                del self._tasks[key]


@dataclass(frozen=True, slots=True)
class PublishProgress:
    """A step of publishing: `advanced` more bytes of an item of `size` bytes were processed; 0 when it starts.

    `name` is the text of a notice. The steps of an upload come from several threads.
    """

    phase: Literal["hashing", "uploading", "notice"]
    name: str
    advanced: int = 0
    size: int = 0


OnProgress = Callable[[PublishProgress], None]
