"""Polls at any times of any history end in the same rows as one poll at the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.models import Load, Tail, Transfer
from ifeportal.models import Airline
from tests.support.polling_world import MIB, PollingWorld, load, rows, transfer
from tests.support.profiles import scaled

pytestmark = pytest.mark.django_db

ITEMS = st.sampled_from("ab")
TAILS = st.sampled_from(["N1", "N2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("progress"), TAILS, ITEMS, st.sampled_from([0, 7, MIB, 2 * MIB, 3 * MIB])),
        st.tuples(st.just("error"), TAILS, ITEMS, st.sampled_from(["IO_ERROR: x", "y"])),
        st.tuples(st.just("remove"), TAILS, ITEMS, st.sampled_from(["progress", "error"])),
        st.tuples(st.just("manifest"), st.sampled_from([{"a": 2 * MIB}, {"a": 2 * MIB, "b": 3 * MIB}, {"b": 7}])),
        st.tuples(st.just("later"), st.sampled_from([0, 1, 30])),
        st.tuples(st.just("poll")),
    ),
    max_size=14,
)
COMPARED_FIELDS = (
    "status",
    "bytes_done",
    "bytes_total",
    "error",
    "error_code",
    "bytes_reported",
    "error_past",
    "oversized",
    "listed",
)


def truth() -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the visible values of every row, without its history and without deleted objects."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in Transfer.objects.select_related("load__tail").exclude(status="deleted"):
        if each.listed or each.progress_etag or each.error_etag:
            found[each.load.tail.name, each.content] = {name: getattr(each, name) for name in COMPARED_FIELDS}
    return found


def act(world: PollingWorld, step: tuple[Any, ...]) -> None:
    match step:
        case ("progress", tail, item, value):
            world.progress(f"{tail}/2026-12/{item}", value)
        case ("error", tail, item, text):
            world.error(f"{tail}/2026-12/{item}", text)
        case ("remove", tail, item, kind):
            world.remove(f"{tail}/2026-12/{item}.tgz.{kind}")
        case ("manifest", items):
            world.manifest(items=items)
        case ("later", seconds):
            world.later(seconds)
        case _:
            world.poll()


@settings(max_examples=scaled(100, quick=12), suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=STEPS)
def test_additional_polls_do_not_change_the_final_state(db: None, steps: list[tuple[Any, ...]]) -> None:
    Airline.objects.all().delete()
    world = PollingWorld()
    for step in steps:
        act(world, step)
    world.poll()
    watched = truth()
    before = rows()
    world.poll()
    assert rows() == before, "a poll more writes nothing"
    Airline.objects.all().delete()
    world.poll()
    fresh = truth()
    # A known total remains for an item that is no longer listed, and a load remains without items.
    for place in watched.keys() | fresh.keys():
        mine, other = watched.get(place), fresh.get(place)
        if mine is not None and other is not None and mine["listed"]:
            assert mine == other
        elif mine is not None and other is not None:
            assert mine["bytes_reported"] == other["bytes_reported"]
        else:
            assert mine is None or mine["bytes_reported"] is None, place


def test_the_sums_of_a_load_are_those_of_its_transfers(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 300, "c": 600})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 50)
    world.progress("N1/2026-12/stray", 70)
    world.poll()
    row = load()
    assert (row.bytes_done, row.bytes_total, row.items_total, row.items_done) == (150, 1000, 3, 1)
    assert transfer("stray").listed is False
    assert Load.objects.count() == Tail.objects.count() == 1
