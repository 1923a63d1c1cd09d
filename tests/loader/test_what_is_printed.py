"""What a loader prints: one line an event, plain or JSON, that nothing from outside can break or steer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from loader.display import Display, JsonLines, plain_text

HOSTILE = 'a\n{"event": "forged"}\r\x1b[2J\u202egpj\x00\ud800'


def everything(display: Display) -> None:
    """Each event once, with names and texts nobody should have."""
    display.plan(2, 1000, 10)
    display.began("c", HOSTILE, 0, 100)
    display.moved("c", HOSTILE, 50, 100, 50)
    display.retrying("c", HOSTILE, "NETWORK", HOSTILE, 1.0)
    display.failed("c", HOSTILE, "IO_ERROR", HOSTILE)
    display.finished("c", "b", 100, verified=True)
    display.campaign_failed("c", "BAD_MANIFEST", HOSTILE)
    display.say("odd", HOSTILE, path=Path("/content"), error=ValueError("x"))
    display.state("waiting", HOSTILE, "c")
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
    everything(Display(stream))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 8  # ten seconds have not passed: no progress
    assert all(line.isprintable() for line in lines)


def test_a_stream_that_has_not_the_signs_gets_others() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Display(stream).say("x", "Überflug")
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
        display.state(state, reason, "c")
    told: list[Any] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["text"] for one in told] == [
        "waiting: no route",
        "waiting: no name",
        "paused: by the ground",
        "loading",
    ]


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
    assert plain_text(text) == plain
