"""The bandwidth limit and the minimum rate: pure rules of time, without waiting."""

from __future__ import annotations

import threading

import pytest

from loader.errors import Stopped
from loader.transfer.rate_limit import CHUNK, LowSpeedGuard, RateLimiter
from tests.support.clocks import ManualClock


def test_one_limit_applies_to_all_transfers_together() -> None:
    clock = ManualClock()
    limiter = RateLimiter(1_000_000, clock)
    began = clock.now
    for _ in range(400):
        clock.now += limiter.delay(25_000)
    assert 10_000_000 / (clock.now - began) == pytest.approx(1_000_000, rel=0.03)


def test_a_pause_does_not_buy_a_burst() -> None:
    clock = ManualClock()
    limiter = RateLimiter(1_000_000, clock)
    clock.now += 3600
    assert limiter.delay(1_000_000) >= 0.75


def test_without_a_limit_there_is_no_wait() -> None:
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
    assert limiter.delay(100_000) <= 0.1 + 1e-6  # rounding


def test_a_raised_minimum_does_not_apply_to_earlier_bytes() -> None:
    trickle = LowSpeedGuard(10, 60.0)
    assert not any(trickle.too_slow(float(second), 20 * second) for second in range(100))
    trickle.set_minimum(1000)
    assert not any(trickle.too_slow(100.0 + second, 2000 + 20 * second) for second in range(59))
    assert trickle.too_slow(160.0, 3200)


def test_a_trickle_differs_from_a_slow_link() -> None:
    for rate, slow in ((4000, True), (4200, False)):
        trickle = LowSpeedGuard(4096, 60.0)
        assert any(trickle.too_slow(float(second), second * rate) for second in range(600)) is slow


def test_a_link_that_stalls_later_is_too_slow_then() -> None:
    trickle = LowSpeedGuard(4096, 60.0)
    dropped_at = [second for second in range(1200) if trickle.too_slow(float(second), min(second, 600) * 100_000)]
    assert dropped_at
    assert 600 < dropped_at[0] <= 735
