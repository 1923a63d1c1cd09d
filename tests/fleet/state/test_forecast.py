"""When a load will be complete: only from observed samples, with a range, and unknown without samples."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.state.forecast import (
    MATERIAL_CHANGE,
    MAXIMUM_ETA,
    SPAN,
    ExhibitionDates,
    Forecast,
    baseline_sample,
    differs_materially,
    effective_rate,
    eta_range,
    forecast,
    is_at_risk,
)
from fleet.state.rates import RateSample
from loader.contract.item_reports import COUNT_LIMIT

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
BYTES = st.integers(0, COUNT_LIMIT)
RATES = st.none() | st.integers(0, COUNT_LIMIT)
SAMPLES = st.lists(
    st.tuples(st.integers(0, 10 * 86_400), st.integers(0, 10**12)), max_size=20, unique_by=lambda p: p[0]
)


def samples(pairs: list[tuple[int, int]]) -> list[RateSample]:
    """Return samples in order of time; the first of a pair is seconds before now."""
    return [RateSample(NOW - timedelta(seconds=ago), done) for ago, done in sorted(pairs, reverse=True)]


@given(BYTES, RATES, RATES)
def test_the_earliest_end_is_never_after_the_latest_nor_in_the_past(
    remaining: int, rate: int | None, slow: int | None
) -> None:
    found = forecast(remaining, rate, slow, NOW)
    if found is None:
        assert remaining > 0
        assert not rate, "a rate gives an expected end"
        assert not slow
    else:
        assert NOW <= found.earliest <= found.latest <= NOW + MAXIMUM_ETA


@given(st.integers(1, 10**15), st.integers(1, 10**9), st.integers(1, 10**9))
def test_the_faster_rate_gives_the_earliest_and_the_slower_the_latest_time(
    remaining: int, one: int, other: int
) -> None:
    found = eta_range(remaining, one, other)
    assert found == eta_range(remaining, other, one)
    limit = int(MAXIMUM_ETA.total_seconds())
    assert found == (
        min(-(-remaining // max(one, other)), limit),
        min(-(-remaining // min(one, other)), limit),
    )


@pytest.mark.parametrize(
    ("remaining", "rate", "slow"), [(None, 5, 5), (10, None, None), (10, 0, None), (10, None, 0), (10, 0, 0)]
)
def test_unknown_values_give_no_forecast(remaining: int | None, rate: int | None, slow: int | None) -> None:
    assert forecast(remaining, rate, slow, NOW) is None


def test_a_load_without_remaining_bytes_is_complete_now() -> None:
    assert eta_range(0, None, None) == (0, 0)


@given(SAMPLES)
def test_the_effective_rate_is_counted_from_within_the_span_and_from_no_time_before_a_restart(
    pairs: list[tuple[int, int]],
) -> None:
    found = samples(pairs)
    first = baseline_sample(found, NOW)
    within = [sample for sample in found if sample.at >= NOW - SPAN]
    if first is None:
        assert not within
        return
    since = found[found.index(first) :]
    assert all(later.bytes_done >= one.bytes_done for one, later in pairwise(since))
    assert first.at >= NOW - SPAN


def test_pauses_are_part_of_the_effective_rate() -> None:
    """An hour of loading, then a day of nothing."""
    since = NOW - timedelta(hours=25)
    assert effective_rate(since, 0, 90_000_000, NOW - timedelta(hours=24)) == 25_000
    assert effective_rate(since, 0, 90_000_000, NOW) == 1_000


@given(st.integers(0, 10**6), BYTES, BYTES)
def test_an_effective_rate_is_never_negative_and_unknown_in_the_first_minute(ago: int, base: int, done: int) -> None:
    found = effective_rate(NOW - timedelta(seconds=ago), base, done, NOW)
    assert found is None if ago < 60 or done < base else 0 <= (found or 0) <= COUNT_LIMIT
    assert effective_rate(None, base, done, NOW) is None


@given(RATES, RATES)
def test_only_significant_differences_are_written(one: int | None, other: int | None) -> None:
    assert not differs_materially(one, one)
    assert differs_materially(one, other) is differs_materially(other, one)
    if one is not None and other is not None and one >= other:
        assert differs_materially(one, other) is (one - other > MATERIAL_CHANGE * one)


STARTS = date(2026, 12, 3)  # 36 hours after NOW
AHEAD = ExhibitionDates(STARTS, date(2026, 12, 31))
SOON, LATE = forecast(3_600, 1, None, NOW), forecast(36 * 3_600 + 1, 1, None, NOW)


@pytest.mark.parametrize(
    ("status", "exhibition", "expected", "hours", "at_risk"),
    [
        ("loading", AHEAD, SOON, 48, False),
        ("loading", AHEAD, LATE, 1, True),
        ("loading", AHEAD, None, 37, True),
        ("loading", AHEAD, None, 36, False),
        ("pending", AHEAD, None, 48, True),
        ("failed", AHEAD, SOON, 48, True),
        ("failed", AHEAD, SOON, 24, False),
        ("complete", AHEAD, None, 48, False),
        ("deleted", AHEAD, None, 48, False),
        ("loading", ExhibitionDates(None, date(2026, 12, 31)), None, 48, False),
        ("loading", ExhibitionDates(date(2026, 11, 1), None), None, 1, True),
        ("loading", ExhibitionDates(date(2026, 11, 1), date(2026, 12, 1)), None, 1, True),
        ("loading", ExhibitionDates(date(2026, 11, 1), date(2026, 11, 30)), None, 1, False),
        ("loading", ExhibitionDates(date(2026, 11, 1), date(2026, 12, 1)), SOON, 1, True),
    ],
)
def test_a_load_is_at_risk_by_its_late_end_or_where_none_is_known_by_the_nearness_of_the_start(
    status: str, exhibition: ExhibitionDates, expected: Forecast | None, hours: int, at_risk: bool
) -> None:
    assert is_at_risk(status, exhibition, expected, timedelta(hours=hours), NOW) is at_risk
