"""How often an airline is polled: between the interval and the ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.polling.interval import next_interval

spans = st.floats(0, 1e9)
floors = st.floats(0.001, 86400)
above = st.floats(0, 86400)


@pytest.mark.parametrize(
    ("quiet", "watched", "pushed", "expected"),
    [
        (0, False, False, 2),
        (20, False, False, 2),
        (21, False, False, 2.1),
        (300, False, False, 30),
        (600, False, False, 60),
        (86400, False, False, 60),
        (86400, True, False, 2),
        (0, False, True, 60),
        (0, True, True, 60),
    ],
)
def test_a_change_after_an_idle_period_is_visible_after_a_tenth_of_it(
    quiet: float, watched: bool, pushed: bool, expected: float
) -> None:
    assert next_interval(quiet, watched=watched, floor=2, ceiling=60, pushed=pushed) == pytest.approx(expected)


@given(quiet=spans, watched=st.booleans(), pushed=st.booleans(), floor=floors, more=above)
def test_the_interval_is_within_its_limits(
    quiet: float, watched: bool, pushed: bool, floor: float, more: float
) -> None:
    found = next_interval(quiet, watched=watched, floor=floor, ceiling=floor + more, pushed=pushed)
    assert floor <= found <= floor + more


@given(quiet=spans, longer=spans, watched=st.booleans(), pushed=st.booleans(), floor=floors, more=above)
def test_the_interval_grows_while_an_airline_is_idle(
    quiet: float, longer: float, watched: bool, pushed: bool, floor: float, more: float
) -> None:
    ceiling = floor + more
    first = next_interval(quiet, watched=watched, floor=floor, ceiling=ceiling, pushed=pushed)
    assert first <= next_interval(quiet + longer, watched=watched, floor=floor, ceiling=ceiling, pushed=pushed)


@given(quiet=spans, floor=floors, more=above)
def test_watched_airlines_are_polled_at_the_floor_and_those_with_events_at_the_ceiling(
    quiet: float, floor: float, more: float
) -> None:
    assert next_interval(quiet, watched=True, floor=floor, ceiling=floor + more) == floor
    for watched in (False, True):
        assert next_interval(quiet, watched=watched, floor=floor, ceiling=floor + more, pushed=True) == floor + more
