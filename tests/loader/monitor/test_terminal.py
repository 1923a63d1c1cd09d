"""Output of a loader: one line per event, plain or JSON, safe against hostile names and texts."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest

from loader.contract.item_reports import one_line
from loader.contract.manifest import Item
from loader.errors import Code
from loader.monitor.events import (
    CampaignFailed,
    ItemFailed,
    ItemFinished,
    ItemProgress,
    ItemRetrying,
    ItemStarted,
    ItemStopped,
    LoaderState,
    PlanChanged,
    PlanStarted,
)
from loader.monitor.terminal import JsonLines, PlainDisplay, ProgressBars
from loader.planning.model import PlanStep

HOSTILE = 'a\n{"event": "forged"}\r\x1b[2J\u202egpj\x00\ud800'


def everything(display: PlainDisplay) -> None:
    """Send each event once, with hostile names and texts."""
    display.handle(PlanStarted(2, 1000, 10))
    display.handle(ItemStarted("c", HOSTILE, 0, 100))
    display.handle(ItemProgress("c", HOSTILE, 50, 100, 50))
    display.handle(ItemRetrying("c", HOSTILE, Code.NETWORK, HOSTILE, 1.0))
    display.handle(ItemFailed("c", HOSTILE, Code.IO_ERROR, HOSTILE))
    display.handle(ItemFinished("c", "b", 100, verified=True))
    display.handle(CampaignFailed("c", Code.BAD_MANIFEST, HOSTILE))
    display.notice("odd", HOSTILE, path=Path("/content"), error=ValueError("x"))
    display.handle(LoaderState("waiting", HOSTILE, "c"))
    display.close()


def test_with_json_every_line_is_one_object() -> None:
    stream = io.StringIO()
    everything(JsonLines(stream, 0.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "plan",
        "began",
        "progress",
        "retrying",
        "failed",
        "finished",
        "campaign_failed",
        "odd",
        "state",
    ]
    assert all({"at", "event", "text"} <= set(line) for line in lines)
    assert stream.getvalue().isascii()
    assert lines[1]["content"] == HOSTILE


def test_the_fields_of_each_json_line_are_public() -> None:
    stream = io.StringIO()
    everything(JsonLines(stream, 0.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [list(line)[3:] for line in lines] == [
        ["items", "bytes", "begun"],
        ["campaign", "content", "bytes_done", "bytes_total"],
        ["campaign", "content", "bytes_done", "bytes_total"],
        ["campaign", "content", "code", "error", "seconds"],
        ["campaign", "content", "code", "error"],
        ["campaign", "content", "bytes_total", "verified"],
        ["campaign", "code", "error"],
        ["path", "error"],
        ["state", "reason"],
    ]
    assert lines[0] == {**lines[0], "items": 2, "bytes": 1000, "begun": 10}
    assert lines[3]["error"] == one_line(HOSTILE)
    assert (lines[-2]["path"], lines[-2]["error"]) == ("/content", "x")


def test_plain_lines_are_lines_and_steer_no_terminal() -> None:
    stream = io.StringIO()
    everything(PlainDisplay(stream))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 8  # less than ten seconds: no progress line
    assert all(line.isprintable() for line in lines)


def test_a_stream_that_has_not_the_signs_gets_others() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainDisplay(stream).notice("x", "Überflug")
    assert rb"\xdcberflug" in raw.getvalue()


def test_the_reason_for_waiting_is_printed_when_it_changes() -> None:
    stream = io.StringIO()
    display = JsonLines(stream, 1.0)
    for state, reason in [
        ("idle", ""),
        ("loading", ""),
        ("waiting", "no route"),
        ("waiting", "no route"),
        ("waiting", "no name"),
        ("paused", "by the ground"),
        ("loading", ""),
        ("verifying", ""),
    ]:
        display.handle(LoaderState(state, reason, "c"))
    printed: list[Any] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["text"] for one in printed] == [
        "waiting: no route",
        "waiting: no name",
        "paused: by the ground",
        "loading",
    ]


def bars(*steps: PlanStep) -> tuple[ProgressBars, io.StringIO]:
    """Return bars for a plan of these steps, and their stream."""
    stream = io.StringIO()
    shown = ProgressBars(stream)
    shown.handle(PlanChanged(steps, {}, {}))
    shown.handle(PlanStarted(len(steps), sum(step.item.size for step in steps), sum(step.bytes_done for step in steps)))
    return shown, stream


def last_view(display: ProgressBars, stream: io.StringIO) -> list[str]:
    """Return the lines of the bars at the end."""
    display.close()
    return [line for line in stream.getvalue().splitlines() if "━" in line]


def fetch(name: str, size: int, begun: int = 0) -> PlanStep:
    return PlanStep("c", Item(name, size), "fetch", 0, begun)


def test_the_total_bar_counts_linked_and_restarted_items() -> None:
    display, stream = bars(fetch("linked", 6000), fetch("again", 4000, 2000))
    display.handle(ItemStarted("c", "again", 0, 4000))  # the bytes on disk are not trusted
    display.handle(ItemProgress("c", "again", 1000, 4000, 1000))
    display.handle(ItemFinished("c", "linked", 6000, verified=True))
    assert "7.0/10.0 kB" in last_view(display, stream)[0]


def test_preempted_items_have_no_bar_and_resumed_ones_have_one() -> None:
    display, stream = bars(fetch("a", 4000), fetch("b", 4000))
    for name in ("a", "b"):
        display.handle(ItemStarted("c", name, 0, 4000))
        display.handle(ItemProgress("c", name, 1000, 4000, 1000))
        display.handle(ItemStopped("c", name))
    display.handle(ItemStarted("c", "b", 1000, 4000))
    display.handle(ItemProgress("c", "b", 2000, 4000, 1000))
    shown = last_view(display, stream)
    assert [line.split()[0] for line in shown] == ["Total,", "c/b"]
    assert "3.0/8.0 kB" in shown[0]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("TIMEOUT: too late", "TIMEOUT: too late"),
        ("TIMEOUT:  a\n b", "TIMEOUT: a b"),
        ("Hello:\tyou", "Hello: you"),
        ("", ""),
    ],
)
def test_text_is_preserved_in_one_line(text: str, plain: str) -> None:
    assert one_line(text) == plain


class _ClosedStream(io.StringIO):
    """A terminal whose window was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def write(self, text: str) -> int:
        self.refused += 1
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    "make", [ProgressBars, PlainDisplay, lambda stream: JsonLines(stream, 0.0)], ids=["bars", "lines", "json"]
)
def test_a_terminal_that_went_away_stops_no_load(make: Callable[[TextIO], PlainDisplay]) -> None:
    stream = _ClosedStream()
    everything(make(stream))
    assert stream.refused
