"""One table of cases checks how server and browser format a figure (see system/browser/test_live_pages.py)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.pages import bars
from ifeportal import formatting
from ifeportal.templatetags.formatting import exhibition

CASES: dict[str, list[tuple[int | None, str]]] = json.loads(
    Path(__file__).parents[1].joinpath("support/figures.json").read_text()
)
NOW = datetime(2026, 12, 1, 14, 3, 22, 123456, UTC)


def cases(*hows: str) -> list[Any]:
    return [pytest.param(how, value, text, id=f"{how} {value}") for how in hows for value, text in CASES[how]]


@pytest.mark.parametrize(("how", "value", "text"), cases(*formatting.FORMATS))
def test_a_number_is_written_by_the_rule(how: str, value: int | None, text: str) -> None:
    assert formatting.FORMATS[how](value) == text


@pytest.mark.parametrize(("how", "seconds", "text"), cases("age"))
def test_an_age_is_written_by_the_rule(how: str, seconds: int | None, text: str) -> None:
    moment = None if seconds is None else NOW - timedelta(seconds=seconds)
    assert formatting.age(moment, NOW) == text


@pytest.mark.parametrize(("how", "seconds", "text"), cases("until"))
def test_how_soon_something_is_is_written_by_the_rule(how: str, seconds: int | None, text: str) -> None:
    moment = None if seconds is None else NOW - timedelta(seconds=seconds)
    assert formatting.until(moment, NOW) == text


@given(st.integers(1000, 2**53), st.integers(0, 10**12))
def test_the_bytes_shown_never_exceed_the_bytes_loaded(bytes_done: int, more: int) -> None:
    number, unit = formatting.size(bytes_done).split()
    power = ["kB", "MB", "GB", "TB", "PB"].index(unit) + 1
    whole, _, fraction = number.replace(",", "").partition(".")
    assert (int(whole) * 100 + int(fraction.ljust(2, "0"))) * 1000**power <= bytes_done * 100


def test_a_moment_is_written_in_utc_for_people_and_programs() -> None:
    assert formatting.instant(NOW) == "2026-12-01 14:03:22 UTC"
    assert formatting.iso(NOW) == "2026-12-01T14:03:22.123Z"


@pytest.mark.parametrize(
    ("starts", "ends", "text"),
    [
        (date(2026, 12, 1), date(2026, 12, 31), "1 to 31 Dec 2026"),
        (date(2026, 11, 20), date(2026, 12, 3), "20 Nov to 3 Dec 2026"),
        (date(2026, 12, 20), date(2027, 1, 3), "20 Dec 2026 to 3 Jan 2027"),
        (date(2026, 12, 1), None, "from 1 Dec 2026"),
        (None, date(2026, 12, 31), "until 31 Dec 2026"),
    ],
)
def test_an_exhibition_is_written_without_repeating_itself(starts: date | None, ends: date | None, text: str) -> None:
    assert exhibition(starts, ends) == text


BARS = json.loads(Path(__file__).parents[1].joinpath("support/bars.json").read_text())


def test_a_bar_is_as_long_as_the_loaded_share_and_its_parts_fit_in() -> None:
    for bytes_done, expected in BARS["parts"]:
        found = bars.parts(*bytes_done)
        assert list(found) == expected
        assert sum(found) <= 100
    for counts, expected in BARS["segments"]:
        assert [list(segment) for segment in bars.segments(counts)] == expected


def test_the_time_left_is_a_band_and_the_disk_the_first_one() -> None:
    assert [formatting.band(*span) for span, _ in BARS["band"]] == [text for _, text in BARS["band"]]
    assert [formatting.free(stores) for stores, _ in BARS["free"]] == [text for _, text in BARS["free"]]
