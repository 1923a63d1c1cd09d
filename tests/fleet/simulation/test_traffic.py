"""The traffic of a simulated fleet follows the contract, is reproducible, and polling finds the expected state."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.models import Transfer
from fleet.simulation.expected import Expected, expected_after, expected_after_count
from fleet.simulation.plan import FleetPlan, PlannedWrite, initial_reports, manifests
from fleet.simulation.traffic import HEARTBEAT_INTERVAL, changes
from loader.contract.heartbeat import parse_heartbeat
from loader.contract.item_reports import parse_error, parse_progress
from loader.contract.keys import parse_status_key
from loader.contract.manifest import parse_manifest
from loader.contract.units import MIB
from loader.errors import ContractError
from tests.support.polling_world import PollingWorld

SHARES = st.sampled_from([0.0, 0.1, 0.3])
PLANS = st.builds(
    FleetPlan,
    seed=st.integers(0, 1000),
    airlines=st.integers(1, 3),
    tails=st.integers(1, 8),
    items=st.integers(1, 4),
    rate=st.sampled_from([0.3, 5.0, 400.0]),
    seconds=st.none(),
    size=st.sampled_from([1, 900_000, 40 * MIB]),
    failing=SHARES,
    stalling=SHARES,
    restarting=SHARES,
    foreign=st.sampled_from([0.0, 0.5, 1.0]),
)
LIVELY = FleetPlan(
    airlines=2, tails=30, items=3, rate=20.0, size=30 * MIB, failing=0.3, stalling=0.3, restarting=0.3, foreign=0.3
)


@given(PLANS)
@settings(deadline=None)
def test_the_same_plan_gives_the_same_changes(plan: FleetPlan) -> None:
    assert list(changes(plan)) == list(changes(plan))


def test_another_seed_gives_others() -> None:
    assert list(changes(FleetPlan(seed=1))) != list(changes(FleetPlan(seed=2)))


@given(PLANS)
@settings(deadline=None)
def test_every_change_keeps_the_contract(plan: FleetPlan) -> None:
    sizes = {plan.item(number): size for number, size in enumerate(plan.sizes)}
    previous_bytes: dict[str, int] = {}
    errors: set[str] = set()
    for change in changes(plan):
        key = parse_status_key(change.key)
        assert key is not None
        if key.kind == "heartbeat":
            assert change.body is not None
            assert parse_heartbeat(change.body).state in ("loading", "idle")
        elif key.kind == "error":
            _is_an_honest_error(change, previous_bytes, errors, sizes[key.content])
        else:
            assert change.body is not None
            done = parse_progress(change.body)
            assert done != previous_bytes.get(change.key), "what is written says something new"
            assert done <= sizes[key.content]
            assert previous_bytes.get(change.key) != sizes[key.content], "what is whole stays whole"
            previous_bytes[change.key] = done
    assert not errors
    assert len(previous_bytes) == plan.airlines * plan.tails * plan.items
    assert all(
        done == sizes[key.rpartition("/")[2].removesuffix(".tgz.progress")] for key, done in previous_bytes.items()
    )


def _is_an_honest_error(change: PlannedWrite, previous_bytes: dict[str, int], errors: set[str], size: int) -> None:
    done = previous_bytes.get(change.key.removesuffix("error") + "progress", 0)
    if change.body is None:
        assert done == size, "an error goes once the item has succeeded"
        errors.remove(change.key)
    else:
        assert done < size
        assert change.key not in errors
        errors.add(change.key)


@given(PLANS)
@settings(deadline=None)
def test_loaders_of_ours_report_whole_mib_and_foreign_ones_anything_without_a_code(plan: FleetPlan) -> None:
    foreign = {(key.airline, key.tail) for change in changes(plan) if (key := parse_status_key(change.key))}
    for change in changes(plan):
        key = parse_status_key(change.key)
        if key and key.kind == "heartbeat":
            foreign.discard((key.airline, key.tail))
    for change in changes(plan):
        key = parse_status_key(change.key)
        assert key is not None
        if change.body is None or key.kind == "heartbeat":
            continue
        theirs = (key.airline, key.tail) in foreign
        if key.kind == "error":
            assert (parse_error(change.body).code is None) == theirs
        elif not theirs:
            done = parse_progress(change.body)
            assert done % MIB == 0 or done in plan.sizes
    assert plan.foreign != 1.0 or len(foreign) == plan.airlines * plan.tails
    assert plan.foreign != 0.0 or not foreign


@given(PLANS)
@settings(deadline=None)
def test_changes_come_in_order_of_time_and_never_faster_than_asked(plan: FleetPlan) -> None:
    moments = [change.at for change in changes(plan)]
    assert all(later - earlier >= 0.999 / plan.rate for earlier, later in pairwise(moments))
    assert moments[0] >= 0.0


def test_without_silence_the_rate_is_the_one_asked_for() -> None:
    moments = [change.at for change in changes(FleetPlan(rate=50.0, seconds=10.0))]
    assert len(moments) == 500


def test_everything_that_may_befall_a_tail_does() -> None:
    written = list(changes(LIVELY))
    went_back, failed, removed = 0, 0, 0
    previous_bytes: dict[str, bytes] = {}
    for change in written:
        if change.key.endswith(".error"):
            failed, removed = failed + (change.body is not None), removed + (change.body is None)
        elif change.key.endswith(".progress") and change.body is not None:
            went_back += int(change.body) < int(previous_bytes.get(change.key, b"0"))
            previous_bytes[change.key] = change.body
    assert failed == removed > 5
    assert went_back > 5
    quiet = Counter(_gaps(written))
    assert quiet[True] > 5, "tails that stall say nothing for the whole pause"


def _gaps(written: list[PlannedWrite]) -> list[bool]:
    """For every tail: whether it was silent for the plan's pause."""
    moments: dict[str, list[float]] = {}
    for change in written:
        moments.setdefault(change.key.split("/")[1], []).append(change.at)
    return [max((b - a for a, b in pairwise(times)), default=0.0) >= LIVELY.pause for times in moments.values()]


def test_a_long_load_sends_heartbeats_at_its_interval() -> None:
    plan = FleetPlan(tails=1, items=50, rate=0.5, failing=0.0, stalling=0.0, restarting=0.0, seconds=1000.0)
    beats = [change.at for change in changes(plan) if change.key.endswith("/loader.json")]
    assert beats[0] == 0.0
    assert all(HEARTBEAT_INTERVAL <= b - a <= HEARTBEAT_INTERVAL + 4 for a, b in pairwise(beats))
    assert len(beats) == 4


def test_memory_is_that_of_the_tails_that_load_not_of_the_fleet() -> None:
    fleet = FleetPlan(airlines=200, tails=1_000, items=20, rate=10.0)
    assert len(list(islice(changes(fleet), 5_000))) == 5_000
    assert sum(1 for _ in expected_after_count(fleet, 5_000).touched()) < 500


@given(PLANS, st.integers(0, 400))
@settings(deadline=None)
def test_the_truth_after_some_changes_is_what_the_objects_say(plan: FleetPlan, count: int) -> None:
    objects = {change.key: change.body for change in initial_reports(plan)}
    for change in islice(changes(plan), count):
        objects[change.key] = change.body
    found = {row[:3]: row for row in expected_after_count(plan, count).transfers()}
    assert len(found) == plan.airlines * plan.tails * plan.items
    for key, body in objects.items():
        place = parse_status_key(key)
        if place is not None and place.kind == "progress" and body is not None:
            row = found[place.airline, place.tail, place.content]
            assert row.bytes_done == int(body)
            assert bool(row.error) == (objects.get(key.removesuffix("progress") + "error") is not None)


def test_a_manifest_is_one_and_names_the_items_of_the_plan() -> None:
    for number, change in enumerate(manifests(LIVELY)):
        assert change.body is not None
        manifest = parse_manifest(change.body, airline=LIVELY.airline(number), campaign=LIVELY.campaign)
        assert [item.size for item in manifest.content] == list(LIVELY.sizes)
        assert [item.name for item in manifest.content] == ["item-001", "item-002", "item-003"]


@pytest.mark.parametrize(
    "wrong", [{"tails": 0}, {"rate": 0.0}, {"airlines": 1000}, {"failing": 0.7, "stalling": 0.4}, {"foreign": 1.1}]
)
def test_a_fleet_that_cannot_be_is_refused_with_a_sentence(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|at most 999|shares must be"):
        FleetPlan(**wrong)  # type: ignore[arg-type]


def test_a_campaign_that_is_no_name_is_refused() -> None:
    with pytest.raises(ContractError):
        FleetPlan(campaign="a/b")


@pytest.mark.django_db
@pytest.mark.parametrize(("count", "media"), [(300, True), (10_000, True), (300, False)])
def test_polling_finds_the_truth(world: PollingWorld, count: int, media: bool) -> None:
    plan = replace(LIVELY, tails=8)
    for change in manifests(plan) if media else ():
        world.media.put(change.key, change.body or b"")
    written = list(islice(changes(plan), count))
    for number, change in enumerate([*initial_reports(plan), *written]):
        if change.body is None:
            world.status.delete(change.key)
        else:
            world.status.put(change.key, change.body)
        world.later(0.5)
        if number == 200:
            world.poll()
    world.poll()
    assert _rows() == list(expected_after(plan, written, media=media).transfers())


def _rows() -> list[Expected]:
    rows = Transfer.objects.order_by("load__tail__airline__name", "load__tail__name", "content")
    fields = ("load__tail__airline__name", "load__tail__name", "content", "status", "bytes_done", "bytes_total")
    return [Expected(*row) for row in rows.values_list(*fields, "error_code", "error")]
