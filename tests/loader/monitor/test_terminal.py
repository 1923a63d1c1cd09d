"""The loader's output: one line per event, plain or JSON, which no outside text can break or control."""

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
from loader.monitor.terminal import JsonLines, PlainDisplay, ProgressBars
from loader.planning.model import PlanStep

HOSTILE = 'a\n{"event": "forged"}\r\x1b[2J\u202egpj\x00\ud800'


def everything(display: PlainDisplay) -> None:
    """Print each event once, with hostile names and texts."""
    display.plan(2, 1000, 10)
    display.item_started("c", HOSTILE, 0, 100)
    display.item_progress("c", HOSTILE, 50, 100, 50)
    display.item_retrying("c", HOSTILE, Code.NETWORK, HOSTILE, 1.0)
    display.item_failed("c", HOSTILE, Code.IO_ERROR, HOSTILE)
    display.item_finished("c", "b", 100, verified=True)
    display.campaign_failed("c", Code.BAD_MANIFEST, HOSTILE)
    display.notice("odd", HOSTILE, path=Path("/content"), error=ValueError("x"))
    display.state_changed("waiting", HOSTILE, "c")
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


def test_what_keeps_it_from_loading_is_said_when_it_changes() -> None:
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
        display.state_changed(state, reason, "c")
    told: list[Any] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["text"] for one in told] == [
        "waiting: no route",
        "waiting: no name",
        "paused: by the ground",
        "loading",
    ]


def bars(*steps: PlanStep) -> tuple[ProgressBars, io.StringIO]:
    """Return the bars of this plan."""
    stream = io.StringIO()
    shown = ProgressBars(stream)
    shown.plan_changed(steps, {}, {})
    shown.plan(len(steps), sum(step.item.size for step in steps), sum(step.bytes_done for step in steps))
    return shown, stream


def last_view(display: ProgressBars, stream: io.StringIO) -> list[str]:
    """Return the bars displayed at the end."""
    display.close()
    return [line for line in stream.getvalue().splitlines() if "━" in line]


def fetch(name: str, size: int, begun: int = 0) -> PlanStep:
    return PlanStep("c", Item(name, size), "fetch", 0, begun)


def test_the_bar_for_all_knows_what_was_linked_and_what_began_anew() -> None:
    display, stream = bars(fetch("linked", 6000), fetch("again", 4000, 2000))
    display.item_started("c", "again", 0, 4000)  # existing files are not trusted
    display.item_progress("c", "again", 1000, 4000, 1000)
    display.item_finished("c", "linked", 6000, verified=True)
    assert "7.0/10.0 kB" in last_view(display, stream)[0]


def test_what_gave_way_has_no_bar_and_what_goes_on_has_one() -> None:
    display, stream = bars(fetch("a", 4000), fetch("b", 4000))
    for name in ("a", "b"):
        display.item_started("c", name, 0, 4000)
        display.item_progress("c", name, 1000, 4000, 1000)
        display.item_stopped("c", name)
    display.item_started("c", "b", 1000, 4000)
    display.item_progress("c", "b", 2000, 4000, 1000)
    shown = last_view(display, stream)
    assert [line.split()[0] for line in shown] == ["All", "c/b"]
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
def test_a_text_stays_what_it_is_in_one_line(text: str, plain: str) -> None:
    assert one_line(text) == plain


class _Gone(io.StringIO):
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
    stream = _Gone()
    everything(make(stream))
    assert stream.refused
