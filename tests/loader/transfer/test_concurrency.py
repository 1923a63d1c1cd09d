"""The number of connections follows measurements: more where more are faster, one where one is enough."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from loader.transfer.concurrency import (
    IDLE_RESET,
    MAX_CONNECTIONS,
    MAX_TRIAL_PAUSE,
    SATURATED_RATE,
    TRIAL_PAUSE,
    ConcurrencyController,
    ConnectionBudget,
    ThroughputSample,
)
from tests.support.clocks import ManualClock

TICK = 0.1


class World:
    """A link with `rate(streams)` bytes per second, and a loader that uses the allowed connections."""

    def __init__(self, rate: Callable[[int], float], items: int = 1, limit: int | None = None) -> None:
        self.rate, self.items, self.limit = rate, items, limit
        self.ramp = ConcurrencyController()
        self.now = 0.0
        self.total = 0.0
        self.highest = 0

    def run(self, seconds: float) -> int:
        """Return the connections in use at the end."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            streams = max(1, self.ramp.target // self.items) * self.items
            self.total += min(self.rate(streams), self.limit or float("inf")) * TICK
            self.ramp.observe(ThroughputSample(self.now, int(self.total), streams, self.items, self.limit, 0.1))
            self.highest = max(self.highest, self.ramp.target)
        return max(1, self.ramp.target // self.items) * self.items


def lossy(streams: int) -> float:
    """Return a rate where losses limit each connection and the link limits all."""
    return min(300_000.0 * streams, 2_500_000.0)


def test_a_lossy_link_gets_what_fills_it_within_seconds() -> None:
    world = World(lossy)
    assert world.run(6) >= 8
    assert lossy(world.run(20)) >= 2_400_000


def test_a_link_limited_at_every_number_gets_the_maximum() -> None:
    world = World(lambda streams: 10_000.0 * streams)
    assert world.run(10) == MAX_CONNECTIONS
    assert world.highest == MAX_CONNECTIONS


def test_no_connection_is_added_on_a_fast_link() -> None:
    world = World(lambda _: SATURATED_RATE * 1.5)
    assert world.run(300) == 1
    assert world.highest == 1


def test_more_that_brings_nothing_is_taken_back_and_rarely_tried_again() -> None:
    world, tries = World(lambda _: 2_000_000.0), 0
    for _ in range(600):
        before = world.ramp.target
        tries += world.run(1) > before
    assert world.ramp.target <= 2
    assert world.highest == 2
    assert 2 <= tries <= 600 / MAX_TRIAL_PAUSE + 6


def test_a_link_that_changes_is_tried_again() -> None:
    world = World(lambda _: 2_000_000.0)
    world.run(60)
    world.rate = lossy
    assert world.run(MAX_TRIAL_PAUSE) >= 8


def test_a_first_connection_that_is_quick_for_a_moment_does_not_hide_a_lossy_link() -> None:
    world = World(lambda streams: lossy(streams) if world.now > 2 else 2_000_000.0)
    assert world.run(12) >= 8


def test_a_link_that_became_fast_is_given_back_its_single_connection() -> None:
    world = World(lossy)
    world.run(20)
    world.rate = lambda _: 80_000_000.0 * 2
    assert world.run(3 * MAX_TRIAL_PAUSE) == 1


def test_our_own_limit_is_no_reason() -> None:
    world = World(lambda streams: 1_000_000.0 * streams, limit=900_000)
    assert world.run(120) == 1
    assert world.highest == 1


def test_several_items_begin_with_one_connection_each_and_share_what_there_may_be() -> None:
    world = World(lossy, items=4)
    assert world.run(0.2) == 4
    assert world.run(20) in (8, 16)


def test_a_store_that_refuses_gets_half_as_many_for_a_while() -> None:
    world = World(lambda streams: 10_000.0 * streams)
    world.run(10)
    world.ramp.back_off(world.now)
    assert world.ramp.target == MAX_CONNECTIONS // 2
    assert world.run(2 * TRIAL_PAUSE - 1) == MAX_CONNECTIONS // 2
    assert world.run(30) == MAX_CONNECTIONS


def test_the_end_of_one_item_and_the_start_of_the_next_change_nothing() -> None:
    world = World(lossy)
    world.run(15)
    before = world.ramp.target
    world.items = 0
    for _ in range(3):
        world.now += TICK
        world.ramp.observe(ThroughputSample(world.now, int(world.total), 0, 0))
    world.items = 1
    world.run(0.1)
    assert world.ramp.target == before


# The wrapper.


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ramp_up(streams: ConnectionBudget, clock: ManualClock) -> None:
    with streams.track_item():
        for _ in range(400):
            clock.now += TICK
            opened = [streams.track_connection(0.01) for _ in range(streams.connections_per_item())]
            for one in opened:
                one.__enter__()
            streams.record_bytes(5_000 * len(opened))
            for one in opened:
                one.__exit__(None, None, None)


def test_items_share_and_a_small_rest_is_left_alone(clock: ManualClock) -> None:
    streams = ConnectionBudget(clock=clock)
    assert streams.connections_per_item() == 1
    ramp_up(streams, clock)
    with streams.track_item():
        assert streams.connections_per_item() == MAX_CONNECTIONS
        assert streams.should_parallelise(1_000_000_000)
        assert not streams.should_parallelise(100_000)
        with streams.track_item():
            assert streams.connections_per_item() == MAX_CONNECTIONS // 2
    assert streams.rate_per_connection() > 0


def test_after_a_long_silence_it_may_be_another_link(clock: ManualClock) -> None:
    streams = ConnectionBudget(clock=clock)
    ramp_up(streams, clock)
    clock.now += IDLE_RESET + 1
    with streams.track_item():
        assert streams.connections_per_item() == 1
        assert not streams.should_parallelise(10**12)


def test_items_that_begin_together_have_no_more_than_all_may_have() -> None:
    clock = ManualClock()
    streams = ConnectionBudget(MAX_CONNECTIONS, clock)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(streams.track_item())
        streams._controller.target = MAX_CONNECTIONS
        claimed = 0
        while streams.acquire():
            claimed += 1
        assert claimed + 4 == MAX_CONNECTIONS
        streams.release(2)
        assert streams.acquire()
        assert streams.acquire()
        assert not streams.acquire()
