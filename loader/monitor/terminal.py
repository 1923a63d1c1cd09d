"""Output of a running loader: progress bars on a terminal, else one line per event, plain or JSON.

Writes to one stream; may be called from any thread. A closed stream never stops a load.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from loader.contract.item_reports import one_line
from loader.contract.strict_json import format_utc
from loader.monitor.events import (
    Event,
    EventListener,
    ItemEvent,
    ItemFailed,
    ItemFinished,
    ItemProgress,
    ItemStarted,
    ItemStopped,
    LoaderState,
    PlanChanged,
    PlanStarted,
    format_items,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BarKey = tuple[str, str]
_MIN_INTERVAL: Final = 10  # minimum seconds between two plain lines of an item


class PlainDisplay(EventListener):
    """Plain lines with the time of day (UTC), for logs and pipes. Base class of the other displays."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._lock = threading.Lock()
        self._last_shown: dict[BarKey, tuple[int, float]] = {}
        self._last_blocked: LoaderState | None = None

    def handle(self, event: Event) -> None:
        if event.word and self._is_due(event):
            self._print(self._format(event))

    def close(self) -> None:
        """Flush the stream; no event follows."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def _is_due(self, event: Event) -> bool:
        match event:
            case ItemProgress():
                return self._is_progress_due(event)
            case LoaderState():
                return self._has_block_changed(event)
            case ItemFinished() | ItemFailed():
                self._last_shown.pop(event.key, None)
        return True

    def _is_progress_due(self, event: ItemProgress) -> bool:
        """Whether another tenth of the item is complete, at least `_MIN_INTERVAL` seconds after its last line."""
        tenth, now = 10 * event.bytes_done // max(1, event.bytes_total), self._clock()
        before, at = self._last_shown.setdefault(event.key, (tenth, now))
        due = tenth != before and now - at >= _MIN_INTERVAL
        if due:
            self._last_shown[event.key] = tenth, now
        return due

    def _has_block_changed(self, event: LoaderState) -> bool:
        """Whether loading is now blocked, blocked for another reason, or not any more. Items show other states."""
        blocked = replace(event, campaign="") if event.state in ("waiting", "paused") else None
        changed = blocked != self._last_blocked
        self._last_blocked = blocked
        return changed

    def _format(self, event: Event) -> str:
        return f"{datetime.now(UTC):%H:%M:%S} {one_line(event.sentence)}"

    def _print(self, line: str) -> None:
        # A name may have characters that the stream's encoding lacks; the reader may be gone.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()


class JsonLines(PlainDisplay):
    """One JSON object per line: `at`, `event`, `text` and the fields of the event."""

    def __init__(self, stream: TextIO, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._interval = interval

    def _is_progress_due(self, event: ItemProgress) -> bool:
        """Whether `interval` seconds have passed since the last line of the item."""
        now = self._clock()
        _, at = self._last_shown.setdefault(event.key, (0, now))
        due = now - at >= self._interval
        if due:
            self._last_shown[event.key] = 0, now
        return due

    def _format(self, event: Event) -> str:
        at = format_utc(datetime.now(UTC), "milliseconds")
        line = {"at": at, "event": event.word, "text": one_line(event.sentence), **event.json_fields()}
        return json.dumps(line, default=str)


class ProgressBars(PlainDisplay):
    """A terminal: a total bar, a bar for each running transfer, messages above them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._progress = _make_progress(stream)
        self._tasks: dict[BarKey, TaskID] = {}
        self._total: TaskID | None = None
        self._initial: dict[BarKey, int] = {}
        self._shown_bytes: dict[BarKey, int] = {}  # bytes of each item that the total bar includes

    def handle(self, event: Event) -> None:
        with self._lock:
            match event:
                case PlanChanged():
                    self._initial = {(step.campaign, step.item.name): step.bytes_done for step in event.steps}
                case PlanStarted():
                    self._restart_total(event)
                case ItemEvent():
                    self._update_bar(event)
        if not isinstance(event, (ItemStarted, ItemProgress)):
            super().handle(event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        with contextlib.suppress(OSError, ValueError):
            self._progress.stop()
        super().close()

    def _restart_total(self, event: PlanStarted) -> None:
        if self._total is not None:
            self._progress.remove_task(self._total)
        self._shown_bytes = dict(self._initial)
        with contextlib.suppress(OSError, ValueError):  # as in `_print`
            self._progress.start()
        self._total = self._progress.add_task(
            f"Total, {format_items(event.items)}", total=event.size, completed=event.bytes_done
        )

    def _update_bar(self, event: ItemEvent) -> None:
        match event:
            case ItemStarted():
                self._remove(event.key)
                name = f"{event.campaign}/{event.content}"
                task = self._progress.add_task(name, total=event.bytes_total, completed=event.bytes_done)
                self._tasks[event.key] = task
                self._count(event.key, event.bytes_done)
            case ItemProgress():
                if event.key in self._tasks:
                    self._progress.update(self._tasks[event.key], completed=event.bytes_done)
                self._count(event.key, event.bytes_done)
            case ItemFinished():
                self._remove(event.key)
                self._count(event.key, event.bytes_total)
            case ItemStopped() | ItemFailed():
                self._remove(event.key)

    def _remove(self, key: BarKey) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._progress.remove_task(task)

    def _count(self, key: BarKey, bytes_done: int) -> None:
        """Move the total bar by the change of an item: also backwards, and if it was linked instead of downloaded."""
        advance = bytes_done - self._shown_bytes.get(key, self._initial.get(key, bytes_done))
        self._shown_bytes[key] = bytes_done
        if self._total is not None and advance:
            self._progress.update(self._total, advance=advance)

    def _print(self, line: str) -> None:
        # The terminal may be gone, and the calling thread loads or reports.
        with contextlib.suppress(OSError, ValueError):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _make_progress(stream: TextIO) -> Progress:
    # Late: rich takes 0.1 s to import, and only a terminal needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        refresh_per_second=4,
    )


def make_display(stream: TextIO, *, as_json: bool, interval: float) -> PlainDisplay:
    """Return JSON lines if requested, bars on a terminal, plain lines otherwise."""
    if as_json:
        return JsonLines(stream, interval)
    return ProgressBars(stream) if stream.isatty() else PlainDisplay(stream)
