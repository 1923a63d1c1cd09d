"""Trusted time: the store's Date, advanced by a monotonic clock, compared with the local clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.clock import LAG, TOLERANCE, StoreClock, best_time, seconds_since_boot, trusted_time, why_untrusted
from loader.s3.http.headers import parse_http_date

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)


def test_before_an_answer_there_is_no_time() -> None:
    clock = StoreClock()
    assert clock.now() is None
    clock.update(None)
    assert clock.now() is None


def test_the_date_of_the_last_answer_goes_on_with_the_clock_that_counts_from_boot() -> None:
    boot = [1000.0]
    clock = StoreClock(lambda: boot[0])
    clock.update(NOW)
    boot[0] += 86_400.5
    assert clock.now() == NOW + timedelta(days=1, seconds=0.5)
    clock.update(None)
    assert clock.now() == NOW + timedelta(days=1, seconds=0.5)
    clock.update(NOW - timedelta(days=3))
    assert clock.now() == NOW - timedelta(days=3)


def test_a_date_at_the_end_of_the_calendar_is_no_time() -> None:
    boot = [0.0]
    clock = StoreClock(lambda: boot[0])
    clock.update(datetime.max.replace(tzinfo=UTC))
    boot[0] = 1.0
    assert clock.now() is None


def test_the_clock_that_counts_from_boot_goes_on_by_itself() -> None:
    before = seconds_since_boot()
    time.sleep(0.01)
    assert 0.01 <= seconds_since_boot() - before < 10


@given(st.timedeltas(timedelta(days=-9000), timedelta(days=9000)))
def test_no_time_later_than_either_clock_is_trusted(apart: timedelta) -> None:
    trusted = trusted_time(NOW + apart, NOW)
    assert (trusted is None) == (abs(apart) > TOLERANCE) == bool(why_untrusted(NOW + apart, NOW))
    assert trusted is None or trusted <= min(NOW + apart, NOW + LAG)


@pytest.mark.parametrize(("minutes", "is_local"), [(-16, False), (-15, True), (0, True), (15, True), (16, False)])
def test_hours_follow_the_store_s_clock_once_the_local_one_contradicts_it(minutes: int, is_local: bool) -> None:
    local = NOW + timedelta(minutes=minutes)
    assert best_time(local, NOW) == (local if is_local else NOW)
    assert best_time(local, None) == local


@pytest.mark.parametrize("text", ["Fri, 31 Dec 9999 23:59:59 -0100", "soon", "", None])
def test_an_invalid_date_is_ignored(text: str | None) -> None:
    clock = StoreClock()
    clock.update(parse_http_date(text))
    assert clock.now() is None
