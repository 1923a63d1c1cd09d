"""The bandwidth limit, the minimum rate, the random wait: rules of time, without any waiting."""

from __future__ import annotations

import random
import threading

import pytest

from loader.contract.units import MIB
from loader.errors import Stopped
from loader.s3.retry import Backoff, RetryBudget
from loader.transfer.rate_limit import CHUNK, LowSpeedGuard, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_limit_holds_for_all_transfers_together() -> None:
    clock = Clock()
    limiter = RateLimiter(1_000_000, clock)
    began = clock.now
    for _ in range(400):
        clock.now += limiter.delay(25_000)
    assert 10_000_000 / (clock.now - began) == pytest.approx(1_000_000, rel=0.03)


def test_a_pause_does_not_buy_a_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(1_000_000, clock)
    clock.now += 3600
    assert limiter.delay(1_000_000) >= 0.75


def test_without_a_limit_nobody_waits() -> None:
    assert RateLimiter(None).delay(10**12) == 0.0
    assert RateLimiter(None).read_size == CHUNK


def test_a_slow_link_is_shared_in_small_pieces() -> None:
    assert RateLimiter(80_000).read_size == 10_000
    assert RateLimiter(10).read_size == 4096


def test_waiting_for_the_limit_ends_when_the_loader_does() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        RateLimiter(1).wait_for(10_000, stop)


def test_a_changed_limit_frees_who_waits_for_the_old_one() -> None:
    limiter = RateLimiter(1)
    waiting = threading.Thread(target=limiter.wait_for, args=(100_000, threading.Event()))
    waiting.start()
    limiter.rate = 1_000_000
    waiting.join(timeout=20)
    assert not waiting.is_alive()
    assert limiter.delay(100_000) <= 0.1 + 1e-6  # of rounding


def test_a_minimum_that_rises_is_not_held_against_what_came_before() -> None:
    trickle = LowSpeedGuard(10, 60.0)
    assert not any(trickle.too_slow(float(second), 20 * second) for second in range(100))
    trickle.set_minimum(1000)
    assert not any(trickle.too_slow(100.0 + second, 2000 + 20 * second) for second in range(59))
    assert trickle.too_slow(160.0, 3200)


def test_tries_are_counted_anew_after_a_mib() -> None:
    budget = RetryBudget(Backoff(3, 1.0, 1.0), 0)
    assert [budget.next_delay(held) is None for held in (0, 1000, 2000)] == [False, False, True]
    assert budget.failures == 3
    assert budget.next_delay(MIB) is not None
    assert budget.failures == 1


def test_a_trickle_is_told_from_a_slow_link() -> None:
    for rate, slow in ((4000, True), (4200, False)):
        trickle = LowSpeedGuard(4096, 60.0)
        assert any(trickle.too_slow(float(second), second * rate) for second in range(600)) is slow


def test_a_link_that_stalls_later_is_too_slow_then() -> None:
    trickle = LowSpeedGuard(4096, 60.0)
    told = [second for second in range(1200) if trickle.too_slow(float(second), min(second, 600) * 100_000)]
    assert told
    assert 600 < told[0] <= 735


def test_the_wait_is_random_between_nothing_and_a_limit_that_doubles() -> None:
    waits: list[list[float]] = [[] for _ in range(9)]
    for seed in range(300):
        backoff = Backoff(10, 1.0, 60.0, rng=random.Random(seed))
        for at in range(9):
            waits[at].append(backoff.next_delay() or 0.0)
    for at, limit in enumerate([1, 2, 4, 8, 16, 32, 60, 60, 60]):
        assert max(waits[at]) <= limit
        assert max(waits[at]) > 0.9 * limit
        assert min(waits[at]) < 0.1 * limit


def test_the_server_is_given_the_time_it_asks_for_within_reason() -> None:
    assert (Backoff(3, 0.001, 60.0).next_delay(retry_after=30.0) or 0) >= 30.0
    assert (Backoff(3, 0.001, 60.0).next_delay(retry_after=86_400.0) or 0) == 60.0


def test_tries_run_out_and_are_given_back_when_something_was_gained() -> None:
    backoff = Backoff(3, 0.001, 0.001)
    assert [backoff.next_delay() is None for _ in range(3)] == [False, False, True]
    backoff.reset()
    assert backoff.next_delay() is not None


def test_the_millionth_wait_is_no_overflow() -> None:
    assert (Backoff(10**9, 1.0, 60.0, failures=10**6).next_delay() or 0) <= 60.0
