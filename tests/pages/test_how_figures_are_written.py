"""One table of cases holds the server's and the browser's way of writing a figure (see test_browser_live.py)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import figures

CASES: dict[str, list[tuple[int | None, str]]] = json.loads(Path(__file__).with_name("figures.json").read_text())
NOW = datetime(2026, 12, 1, 14, 3, 22, 123456, UTC)


def cases(*hows: str) -> list[Any]:
    return [pytest.param(how, value, text, id=f"{how} {value}") for how in hows for value, text in CASES[how]]


@pytest.mark.parametrize(("how", "value", "text"), cases(*figures.FORMATS))
def test_a_number_is_written_by_the_rule(how: str, value: int | None, text: str) -> None:
    assert figures.FORMATS[how](value) == text


@pytest.mark.parametrize(("how", "seconds", "text"), cases("age"))
def test_an_age_is_written_by_the_rule(how: str, seconds: int | None, text: str) -> None:
    then = None if seconds is None else NOW - timedelta(seconds=seconds)
    assert figures.age(then, NOW) == text


@given(st.integers(1000, 2**53), st.integers(0, 10**12))
def test_what_is_shown_as_held_never_exceeds_what_is_held(held: int, more: int) -> None:
    number, unit = figures.size(held).split()
    power = ["kB", "MB", "GB", "TB", "PB"].index(unit) + 1
    whole, _, fraction = number.replace(",", "").partition(".")
    assert (int(whole) * 100 + int(fraction.ljust(2, "0"))) * 1000**power <= held * 100


def test_a_moment_is_written_in_utc_for_people_and_programs() -> None:
    assert figures.instant(NOW) == "2026-12-01 14:03:22 UTC"
    assert figures.iso(NOW) == "2026-12-01T14:03:22.123Z"


def test_only_a_loading_row_is_called_stalled() -> None:
    assert figures.state_word("loading", stalled=True) == "stalled"
    assert figures.state_word("complete", stalled=True) == "complete"
