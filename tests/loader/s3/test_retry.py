"""Retry delays: the formula, its jitter, and budgets of attempts."""

from __future__ import annotations

import random
from functools import partial

import pytest

from loader.contract.units import MIB
from loader.s3.retry import Backoff, RetryBudget, delay, no_jitter


@pytest.mark.parametrize(
    ("first", "longest", "factor", "delays"),
    [
        (1.0, 60.0, 2.0, [1, 2, 4, 8, 16, 32, 60, 60]),
        (2.0, 60.0, 2.0, [2, 4, 8, 16, 32, 60, 60]),
        (5.0, 100.0, 3.0, [5, 15, 45, 100, 100]),
        (90.0, 60.0, 2.0, [60, 60]),
        (0.0, 60.0, 2.0, [0, 0, 0]),
    ],
)
def test_each_delay_is_a_multiple_of_the_one_before_up_to_the_longest(
    first: float, longest: float, factor: float, delays: list[float]
) -> None:
    assert [delay(failures, first, longest, factor) for failures in range(1, len(delays) + 1)] == delays


def test_before_any_failure_the_delay_is_the_first() -> None:
    assert delay(0, 3.0, 60.0) == 3.0


def test_a_loop_without_jitter_follows_the_formula_and_resets_after_a_success() -> None:
    backoff = Backoff(None, 0.5, 2.0, jitter=no_jitter)
    assert [backoff.next_delay() for _ in range(4)] == [0.5, 1.0, 2.0, 2.0]
    assert not backoff.is_exhausted
    backoff.reset()
    assert backoff.next_delay() == 0.5


def test_attempts_start_over_after_a_mib() -> None:
    budget = RetryBudget(Backoff(3, 1.0, 1.0), 0)
    assert [budget.next_delay(elapsed) is None for elapsed in (0, 1000, 2000)] == [False, False, True]
    assert budget.failures == 3
    assert budget.next_delay(MIB) is not None
    assert budget.failures == 1


def test_the_wait_is_random_between_nothing_and_a_limit_that_doubles() -> None:
    waits: list[list[float]] = [[] for _ in range(9)]
    for seed in range(300):
        backoff = Backoff(10, 1.0, 60.0, jitter=partial(random.Random(seed).uniform, 0.0))
        for at in range(9):
            waits[at].append(backoff.next_delay())
    for at, limit in enumerate([1, 2, 4, 8, 16, 32, 60, 60, 60]):
        assert max(waits[at]) <= limit
        assert max(waits[at]) > 0.9 * limit
        assert min(waits[at]) < 0.1 * limit


def test_the_server_is_given_the_time_it_asks_for_within_reason() -> None:
    assert Backoff(3, 0.001, 60.0).next_delay(retry_after=30.0) >= 30.0
    assert Backoff(3, 0.001, 60.0).next_delay(retry_after=86_400.0) == 60.0


def test_tries_run_out_and_are_given_back_when_something_was_gained() -> None:
    backoff = Backoff(3, 0.001, 0.001)
    assert [(backoff.next_delay(), backoff.is_exhausted)[1] for _ in range(3)] == [False, False, True]
    backoff.reset()
    assert not backoff.is_exhausted


def test_the_millionth_wait_is_no_overflow() -> None:
    assert Backoff(None, 1.0, 60.0, failures=10**6).next_delay() <= 60.0
