"""However events are delivered, push and a final listing leave the same rows as polling."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.models import Load, Tail
from ifeportal.models import Airline
from tests.fleet.polling.test_interleavings import truth
from tests.support.event_queue import MemoryQueue, PushedWorld, row_facts
from tests.support.polling_world import MIB, rows
from tests.support.profiles import scaled

pytestmark = pytest.mark.django_db

TAILS = st.sampled_from(["N1", "N2"])
ITEMS = st.sampled_from("ab")
WRITES = st.one_of(
    st.tuples(st.just("progress"), TAILS, ITEMS, st.sampled_from([0, 7, MIB, 2 * MIB, 3 * MIB])),
    st.tuples(st.just("error"), TAILS, ITEMS, st.sampled_from(["IO_ERROR: x", "y"])),
    st.tuples(st.just("remove"), TAILS, ITEMS, st.sampled_from(["progress", "error"])),
    st.tuples(st.just("heartbeat"), TAILS, st.sampled_from(["idle", "loading"])),
    st.tuples(st.just("campaign"), TAILS, st.sampled_from(["BAD_MANIFEST: x", ""])),
    st.tuples(st.just("later"), st.sampled_from([0, 1, 30])),
)
RANDOM = st.randoms(use_true_random=False)
STEPS = st.lists(st.one_of(WRITES, st.tuples(st.just("look"))), max_size=14)
briefly = settings(max_examples=scaled(50, quick=6), suppress_health_check=list(HealthCheck), deadline=None)


def act(world: PushedWorld, step: tuple[Any, ...]) -> None:
    match step:
        case ("progress", tail, item, value):
            world.progress(f"{tail}/2026-12/{item}", value)
        case ("error", tail, item, text):
            world.error(f"{tail}/2026-12/{item}", text)
        case ("remove", tail, item, kind):
            world.remove(f"{tail}/2026-12/{item}.tgz.{kind}")
        case ("heartbeat", tail, state):
            world.write(f"{tail}/loader.json", b'{"schema":1,"loader":"1","state":"%s"}' % state.encode())
        case ("campaign", tail, ""):
            world.remove(f"{tail}/2026-12/campaign.json.error")
        case ("campaign", tail, text):
            world.write(f"{tail}/2026-12/campaign.json.error", text.encode())
        case ("later", seconds):
            world.later(seconds)


def begin() -> PushedWorld:
    """Start with an empty world: an airline with a manifest, polled once."""
    Airline.objects.all().delete()
    world = PushedWorld()
    world.manifest(items={"a": 2 * MIB, "b": 3 * MIB})
    world.poll()
    return world


def look(world: PushedWorld, random: Random, copies: list[int]) -> None:
    """Consume events: each in several copies, shuffled, and some of them only the next time."""
    bodies = [message.body for message in world.queue.messages.values() for _ in range(random.choice(copies))]
    random.shuffle(bodies)
    late = random.randint(0, len(bodies))
    world.queue = MemoryQueue(bodies[late:])
    assert world.take().unreadable == 0
    for body in bodies[:late]:
        world.queue.put(body)


def replay(steps: list[tuple[Any, ...]], observe: Callable[[PushedWorld], object]) -> PushedWorld:
    """Return a new world after these steps. `observe` is called for each `look`."""
    world = begin()
    for step in steps:
        act(world, step)
        if step == ("look",):
            observe(world)
    return world


@briefly
@given(steps=STEPS, random=RANDOM)
def test_events_that_are_lost_doubled_and_mixed_and_a_listing_at_the_end_leave_what_polling_leaves(
    db: None, steps: list[tuple[Any, ...]], random: Random
) -> None:
    world = replay(steps, lambda world: look(world, random, copies=[0, 1, 2]))
    world.take()
    world.poll()
    pushed, contacts, before = truth(), last_contacts(), rows()
    assert (world.poll().objects_changed, rows()) == (0, before)

    replay(steps, lambda world: world.poll()).poll()
    polled = truth()
    # Objects that existed only between two polls may have been seen by one and not by the other.
    for place in pushed.keys() | polled.keys():
        mine, other = pushed.get(place), polled.get(place)
        if mine is not None and other is not None:
            assert mine == other, place
        else:
            row = mine or other or {}
            assert (row["bytes_reported"], row["error"]) == (None, ""), place
    assert contacts == last_contacts()


@briefly
@given(steps=STEPS, random=RANDOM)
def test_a_listing_finds_no_change_if_no_event_was_lost(db: None, steps: list[tuple[Any, ...]], random: Random) -> None:
    world = replay(steps, lambda world: look(world, random, copies=[1, 1, 2]))
    world.take()
    by_events = row_facts()
    assert world.poll().objects_changed == 0
    assert row_facts() == by_events


def last_contacts() -> dict[str, Any]:
    """Return the facts from heartbeats and from errors of campaigns."""
    tails = Tail.objects.exclude(heartbeat_etag="")
    loads = Load.objects.exclude(error_etag="").select_related("tail")
    return {
        "heartbeats": {row.name: (row.loader_state, row.heartbeat_at, row.heartbeat_etag) for row in tails},
        "errors": {row.tail.name: (row.campaign_error_code, row.campaign_error, row.error_at) for row in loads},
    }
