"""Ranges of an item: no overlaps or gaps, near the contiguous end, and the last ones are split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.storage.byte_ranges import Extent, union
from loader.storage.partial_state import PartialState
from loader.transfer.range_allocator import MIN_SPLIT, ByteRange, RangeAllocator

SIZES = st.integers(1, 40 * MIN_SPLIT)
LENGTH, WINDOW = 3 * MIN_SPLIT, 12 * MIN_SPLIT


def bytes_of(extents: list[Extent]) -> set[int]:
    return {byte for start, end in extents for byte in range(start, end)}


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_a_union_has_the_same_bytes_in_order_without_overlap(extents: list[Extent]) -> None:
    joined = union(extents)
    assert bytes_of(joined) == bytes_of(extents)
    assert all(before[1] < after[0] for before, after in pairwise(joined))


def total(plan: RangeAllocator) -> int:
    return sum(end - start for start, end in plan.received)


def check(plan: RangeAllocator, running: list[ByteRange]) -> None:
    """Check the invariants."""
    on_their_way = [(taken.position, taken.end) for taken in running]
    everything = sorted([*plan.received, *(extent for extent in on_their_way if extent[0] < extent[1])])
    assert all(before[1] <= after[0] for before, after in pairwise(everything))
    assert 0 <= plan.contiguous_end <= plan.size
    assert total(plan) == plan.contiguous_end + sum(end - start for start, end in plan.detached)
    assert all(start > plan.contiguous_end for start, _ in plan.detached)


@given(SIZES, st.data())
def test_every_byte_comes_once_whatever_the_connections_do(size: int, data: st.DataObject) -> None:
    plan = RangeAllocator(size, [(0, data.draw(st.integers(0, size)))])
    came, running = total(plan), list[ByteRange]()
    for _ in range(data.draw(st.integers(0, 60))):
        act = data.draw(st.sampled_from(["take", "advance", "release"]))
        if act == "take":
            taken = plan.allocate(LENGTH, WINDOW)
            assert taken is None or taken.start < taken.end
            running += [taken] if taken else []
        elif running:
            taken = data.draw(st.sampled_from(running))
            if act == "advance" and taken.remaining:
                count = data.draw(st.integers(1, taken.remaining))
                plan.advance(taken, count)
                came += count
            elif act == "release":
                plan.release(taken)
                running.remove(taken)
        check(plan, running)
        assert total(plan) == came
    for taken in running:
        plan.release(taken)
    while (taken := plan.allocate(LENGTH, WINDOW)) is not None:
        plan.advance(taken, taken.remaining)
        plan.release(taken)
        check(plan, [])
    assert plan.received == ((0, size),)


@pytest.mark.parametrize("connections", [1, 4, 8])
def test_ranges_are_allocated_near_the_edge(connections: int) -> None:
    plan = RangeAllocator(1000 * MIN_SPLIT)
    taken = [plan.allocate(LENGTH, WINDOW) for _ in range(connections)]
    assert all(one and one.start < WINDOW for one in taken)
    assert all(one and one.end < WINDOW + LENGTH for one in taken)


def test_an_idle_connection_takes_half_of_the_largest_range() -> None:
    plan = RangeAllocator(10 * MIN_SPLIT)
    first = plan.allocate(10 * MIN_SPLIT, WINDOW)
    assert first is not None
    plan.advance(first, 2 * MIN_SPLIT)
    second = plan.allocate(10 * MIN_SPLIT, WINDOW)
    assert second is not None
    assert (first.position, first.end) == (2 * MIN_SPLIT, 6 * MIN_SPLIT)
    assert (second.position, second.end) == (6 * MIN_SPLIT, 10 * MIN_SPLIT)


def test_crumbs_are_not_shared_out() -> None:
    plan = RangeAllocator(2 * MIN_SPLIT - 1)
    assert plan.allocate(LENGTH, WINDOW) is not None
    assert plan.allocate(LENGTH, WINDOW) is None


def test_failed_ranges_are_requested_first() -> None:
    plan = RangeAllocator(100 * MIN_SPLIT)
    first, second = plan.allocate(LENGTH, WINDOW), plan.allocate(LENGTH, WINDOW)
    assert first
    assert second
    plan.advance(first, 10)
    plan.release(first)
    again = plan.allocate(LENGTH, WINDOW)
    assert again is not None
    assert (again.position, again.end) == (10, LENGTH)


def test_bytes_outside_the_item_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the item"):
        RangeAllocator(10, [(5, 11)])


# Extents restored from disk.

STATE = {"etag": "e", "size": 100, "sha256": None, "version": 1, "durable": 30, "boot": "b"}


def parse_state(**changes: object) -> PartialState | None:
    return PartialState.from_json({**STATE, **changes})


@pytest.mark.parametrize(
    ("extents", "length", "boot", "there"),
    [
        (None, 80, "b", [(0, 80)]),
        (None, 80, "another", [(0, 30)]),
        (None, 20, "another", [(0, 20)]),
        ([[0, 50], [60, 70]], 100, "b", [(0, 50), (60, 70)]),
        ([[0, 50], [60, 70]], 65, "b", [(0, 50), (60, 65)]),
        ([[0, 50], [60, 70]], 100, "another", [(0, 30)]),
        ([[60, 70]], 100, "b", []),
        ([], 100, "b", []),
    ],
)
def test_a_sparse_file_is_never_taken_for_longer_than_what_was_written(
    extents: object, length: int, boot: str, there: list[Extent]
) -> None:
    state = parse_state(extents=extents)
    assert state is not None
    assert state.resumable_extents(length, boot) == there


@pytest.mark.parametrize("extents", ["0-5", [[0]], [[0, 1, 2]], [0, 1], [[0, "5"]], [[-1, 5]], [[0.0, 5]], {"0": 5}])
def test_a_torn_map_makes_the_state_worth_nothing(extents: object) -> None:
    assert parse_state(extents=extents) is None


@pytest.mark.parametrize("field", ["etag", "size", "durable", "boot"])
def test_a_state_that_lacks_something_is_worth_nothing(field: str) -> None:
    assert parse_state(**{field: None}) is None
