"""Samples in, rate out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleet.choices import Status
from fleet.models import Transfer
from fleet.state.rates import RateSample, smoothed_rate, windowed_rate
from loader.contract.item_reports import COUNT_LIMIT

START = datetime(2026, 12, 1, tzinfo=UTC)


def samples(*pairs: tuple[float, int]) -> list[RateSample]:
    return [RateSample(START + timedelta(seconds=at), done) for at, done in pairs]


def test_the_rate_is_that_between_the_oldest_and_the_newest_sample() -> None:
    assert windowed_rate(samples((0, 0), (2, 100), (10, 1000))) == 100


def test_one_sample_or_none_gives_no_rate() -> None:
    assert windowed_rate([]) is None
    assert windowed_rate(samples((0, 5))) is None
    assert windowed_rate(samples((0, 5), (0, 9))) is None


def test_samples_before_a_restart_do_not_count() -> None:
    assert windowed_rate(samples((0, 900), (2, 0), (4, 50), (6, 200))) == 50
    assert windowed_rate(samples((0, 900), (2, 100))) is None


def test_a_new_rate_is_drawn_towards_the_latest() -> None:
    assert smoothed_rate(None, 100, 2) == 50
    assert smoothed_rate(100, -5, 2) is None
    assert smoothed_rate(100, 5, 0) == 100
    drawn = smoothed_rate(100, 400, 2)
    assert drawn is not None
    assert 100 < drawn < 200
    assert smoothed_rate(100, 400_000, 2000) == 200, "after a long time only the latest counts"


@given(st.one_of(st.none(), st.integers(0, COUNT_LIMIT)), st.integers(-COUNT_LIMIT, COUNT_LIMIT), st.floats(1e-6, 1e7))
def test_a_rate_fits_the_database(before: int | None, moved: int, seconds: float) -> None:
    rate = smoothed_rate(before, moved, seconds)
    assert rate is None or 0 <= rate <= COUNT_LIMIT


def test_the_time_left_is_known_only_while_bytes_arrive() -> None:
    row = Transfer(status=Status.LOADING, bytes_done=100, bytes_total=1001, rate_bps=100)
    assert row.eta_seconds == 10
    for change in ({"rate_bps": 0}, {"rate_bps": None}, {"bytes_total": None}, {"stalled": True}, {"status": "failed"}):
        other = Transfer(**{"status": "loading", "bytes_done": 100, "bytes_total": 1001, "rate_bps": 100} | change)
        assert other.eta_seconds is None
