"""Output of a running loader: progress bars on a terminal, else one line an event, plain or JSON.

Writes to one stream only; may be called from any thread. A reader that went away never stops a load.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from loader.contract.item_reports import one_line
from loader.contract.names import TGZ
from loader.contract.units import format_size
from loader.errors import Code
from loader.monitor.events import EventListener

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from loader.planning.model import PlanStep

BarKey = tuple[str, str]
_MIN_INTERVAL: Final = 10  # seconds at least between two plain lines of one item


class PlainDisplay(EventListener):
    """Plain lines with the time of day (UTC), for logs and pipes; and the base of the others. Call it as it happens."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._lock = threading.Lock()
        self._last_shown: dict[BarKey, tuple[int, float]] = {}
        self._last_blocked: tuple[str, str] | None = None

    def plan(self, items: int, size: int, bytes_done: int) -> None:
        """A pass begins: so many items of so many bytes are to be loaded, `bytes_done` of them are here already."""
        if items:
            kept = f", {format_size(bytes_done)} of it are here" if bytes_done else ""
            self.notice(
                "plan", f"{items} items to load, {format_size(size)}{kept}", items=items, bytes=size, begun=bytes_done
            )

    def notice(self, event: str, text: str, **fields: object) -> None:
        """Anything without a method of its own."""
        self._print(f"{datetime.now(UTC):%H:%M:%S} {one_line(text)}")

    def item_started(self, campaign: str, content: str, bytes_done: int, size: int) -> None:
        """A transfer begins, with `bytes_done` bytes on disk."""
        at = f" from {format_size(bytes_done)}" if bytes_done else ""
        text = f"{campaign}/{content}{TGZ}: loading {format_size(size)}{at}"
        self.notice("began", text, campaign=campaign, content=content, bytes_done=bytes_done, bytes_total=size)

    def item_progress(self, campaign: str, content: str, bytes_done: int, size: int, gained: int) -> None:
        """Called for every chunk; `gained` bytes came since the last call."""
        tenth, now = 10 * bytes_done // max(1, size), self._clock()
        before, at = self._last_shown.setdefault((campaign, content), (tenth, now))
        if tenth != before and now - at >= _MIN_INTERVAL:
            self._last_shown[campaign, content] = tenth, now
            self.notice("progress", f"{campaign}/{content}{TGZ}: {tenth}0 %")

    def item_retrying(self, campaign: str, content: str, code: Code, text: str, wait: float) -> None:
        """A try failed; another follows in `wait` seconds."""
        said = f"{campaign}/{content}{TGZ}: {code}: {text}; again in {wait:.1f} s"
        self.notice("retrying", said, campaign=campaign, content=content, code=code, error=one_line(text), seconds=wait)

    def item_finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """The item is whole."""
        self._last_shown.pop((campaign, content), None)
        word = "verified" if verified else "size-checked"
        text = f"{campaign}/{content}{TGZ}: done, {format_size(size)}, {word}"
        self.notice("finished", text, campaign=campaign, content=content, bytes_total=size, verified=verified)

    def item_failed(self, campaign: str, content: str, code: Code, text: str) -> None:
        """The item is given up for now."""
        self._last_shown.pop((campaign, content), None)
        said = f"{campaign}/{content}{TGZ}: failed, {code}: {text}"
        self.notice("failed", said, campaign=campaign, content=content, code=code, error=one_line(text))

    def campaign_failed(self, campaign: str, code: Code, text: str) -> None:
        """The whole campaign is."""
        said = f"{campaign}: failed, {code}: {text}"
        self.notice("campaign_failed", said, campaign=campaign, code=code, error=one_line(text))

    def state_changed(self, state: str, reason: str, campaign: str) -> None:
        """Only what keeps it from loading, and that it does no longer: the rest can be seen from the items."""
        held = (state, reason) if state in ("waiting", "paused") else None
        if held != self._last_blocked:
            self._last_blocked = held
            self.notice("state", f"{state}: {reason}" if reason else state, state=state, reason=one_line(reason))

    def close(self) -> None:
        """No more events."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def _print(self, line: str) -> None:
        # A name may hold signs the stream's encoding has not; a reader may have gone.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()


class JsonLines(PlainDisplay):
    """One JSON object a line: `at`, `event`, and the event's fields."""

    def __init__(self, stream: TextIO, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._interval = interval

    def notice(self, event: str, text: str, **fields: object) -> None:
        """The sentence and the fields."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._print(json.dumps({"at": at, "event": event, "text": one_line(text), **fields}, default=str))

    def item_progress(self, campaign: str, content: str, bytes_done: int, size: int, gained: int) -> None:
        """At most one line per interval."""
        now = self._clock()
        _, at = self._last_shown.setdefault((campaign, content), (0, now))
        if now - at >= self._interval:
            self._last_shown[campaign, content] = 0, now
            text = f"{campaign}/{content}{TGZ}: {bytes_done} of {size} bytes"
            self.notice("progress", text, campaign=campaign, content=content, bytes_done=bytes_done, bytes_total=size)


class ProgressBars(PlainDisplay):
    """A terminal: a bar for all, a bar for each item on its way, messages above them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._progress = _make_progress(stream)
        self._tasks: dict[BarKey, TaskID] = {}
        self._total: TaskID | None = None
        self._initial: dict[BarKey, int] = {}
        self._shown_bytes: dict[BarKey, int] = {}  # bytes of each item that the bar for all holds

    def plan_changed(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[str, str]], titles: Mapping[str, str]
    ) -> None:
        """What is here already, item by item."""
        with self._lock:
            self._initial = {(step.campaign, step.item.name): step.bytes_done for step in steps}

    def plan(self, items: int, size: int, bytes_done: int) -> None:
        """Anew, with a bar for all of it."""
        super().plan(items, size, bytes_done)
        with self._lock:
            if self._total is not None:
                self._progress.remove_task(self._total)
                self._total = None
            self._shown_bytes = dict(self._initial)
        if items:
            with contextlib.suppress(OSError, ValueError):  # as in `_print`
                self._progress.start()
            self._total = self._progress.add_task(f"All {items} items", total=size, completed=bytes_done)

    def item_started(self, campaign: str, content: str, bytes_done: int, size: int) -> None:
        """A bar of its own."""
        self._remove(campaign, content)
        with self._lock:
            name = f"{campaign}/{content}"
            self._tasks[campaign, content] = self._progress.add_task(name, total=size, completed=bytes_done)
            self._count((campaign, content), bytes_done)

    def item_progress(self, campaign: str, content: str, bytes_done: int, size: int, gained: int) -> None:
        """Both bars move."""
        with self._lock:
            task = self._tasks.get((campaign, content))
            if task is not None:
                self._progress.update(task, completed=bytes_done)
            self._count((campaign, content), bytes_done)

    def item_stopped(self, campaign: str, content: str) -> None:
        """The bar goes until it is gone on with."""
        self._remove(campaign, content)

    def item_finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """The bar goes, a line stays."""
        self._remove(campaign, content)
        with self._lock:
            self._count((campaign, content), size)
        super().item_finished(campaign, content, size, verified=verified)

    def item_failed(self, campaign: str, content: str, code: Code, text: str) -> None:
        """The bar goes, a line stays."""
        self._remove(campaign, content)
        super().item_failed(campaign, content, code, text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        with contextlib.suppress(OSError, ValueError):
            self._progress.stop()
        super().close()

    def _remove(self, campaign: str, content: str) -> None:
        with self._lock:
            task = self._tasks.pop((campaign, content), None)
            if task is not None:
                self._progress.remove_task(task)

    def _count(self, key: BarKey, bytes_done: int) -> None:
        """The bar for all follows what is here of each item, also back and where no byte came over the link."""
        advance = bytes_done - self._shown_bytes.get(key, self._initial.get(key, bytes_done))
        self._shown_bytes[key] = bytes_done
        if self._total is not None and advance:
            self._progress.update(self._total, advance=advance)

    def _print(self, line: str) -> None:
        # The terminal may have gone; whoever prints is a thread that loads or reports.
        with contextlib.suppress(OSError, ValueError):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _make_progress(stream: TextIO) -> Progress:
    # Late: rich takes 0.1 s to load, which only a person at a terminal should wait for.
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
    """JSON if asked for, bars on a terminal, lines elsewhere."""
    if as_json:
        return JsonLines(stream, interval)
    return ProgressBars(stream) if stream.isatty() else PlainDisplay(stream)
