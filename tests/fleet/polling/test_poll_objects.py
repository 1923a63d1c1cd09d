"""Only the named objects are read, each fetched once and nothing listed; the rows are those of a poll."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.models import Anomaly, Tail
from fleet.polling.poller import poll_objects
from fleet.polling.result import PollResult
from ifeportal.models import Airline
from loader.errors import Code, WorldError
from tests.fleet.polling.test_interleavings import STEPS, act, truth
from tests.support.polling_world import MIB, PollingWorld, load, rows, tail, transfer
from tests.support.profiles import scaled

pytestmark = pytest.mark.django_db


def named(world: PollingWorld, *paths: str) -> PollResult:
    return poll_objects(Airline.objects.get(name="ACME"), [f"ACME/{path}" for path in paths], world.status, world.clock)


def test_only_the_named_objects_are_read(world: PollingWorld) -> None:
    world.manifest(items={"a": 3 * MIB, "b": 3 * MIB})
    world.progress("N1/2026-12/a", 0)
    world.poll()
    world.later()
    world.progress("N1/2026-12/a", 2 * MIB)
    world.progress("N1/2026-12/b", 2 * MIB)
    world.write("N1/loader.json", b'{"schema": 1, "state": "loading"}')
    result = named(world, "N1/2026-12/a.tgz.progress", "N1/loader.json")
    assert (result.list_requests, result.get_requests, result.transfers_changed) == (0, 2, 1)
    assert (transfer("a").bytes_done, transfer("b").bytes_reported) == (2 * MIB, None)
    assert (tail().loader_state, load().bytes_done) == ("loading", 2 * MIB)
    before = rows()
    assert named(world, "N1/2026-12/a.tgz.progress", "N1/loader.json").transfers_changed == 0
    assert rows() == before


def test_a_missing_object_is_marked_deleted_and_a_new_tail_is_created(world: PollingWorld) -> None:
    world.manifest(items={"a": 3 * MIB})
    world.error("N1/2026-12/a", "IO_ERROR: x")
    world.poll()
    world.remove("N1/2026-12/a.tgz.error")
    world.progress("N2/2027-01/film", 7)
    named(world, "N1/2026-12/a.tgz.error", "N2/2027-01/film.tgz.progress")
    assert (transfer("a").error, transfer("film", "N2", "2027-01").bytes_done) == ("", 7)
    assert {row.name for row in Tail.objects.all()} == {"N1", "N2"}


def test_an_unavailable_object_is_reported_and_not_marked_deleted(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.progress("N1/2026-12/a", 7)
    world.poll()
    before = rows()

    def away(key: str, limit: int, **_: object) -> None:
        raise WorldError(Code.TIMEOUT)

    monkeypatch.setattr(world.status, "get", away)
    assert len(named(world, "N1/2026-12/a.tgz.progress").failures) == 1
    assert rows() == before


def test_names_that_are_no_reports_are_left_to_the_listing(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 7)
    world.poll()
    result = named(world, "", "N1/../x", "N1/2026-12/a.zip", ".archive/N1/2026-12.json.gz")
    assert (result.get_requests, result.failures) == (0, ())
    assert not Anomaly.objects.exists()


@settings(max_examples=scaled(100, quick=12), suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=STEPS, order=st.randoms(use_true_random=False))
def test_named_in_any_order_as_often_as_you_like_the_rows_are_those_of_a_poll(
    db: None, steps: list[tuple[object, ...]], order: object
) -> None:
    Airline.objects.all().delete()
    world = PollingWorld()
    world.manifest(items={"a": 2 * MIB})
    world.poll()
    names = []
    for step in steps:
        act(world, step)
        match step:
            case ("progress", tail, item, _):
                names.append(f"{tail}/2026-12/{item}.tgz.progress")
            case ("error", tail, item, _):
                names.append(f"{tail}/2026-12/{item}.tgz.error")
            case ("remove", tail, item, kind):
                names.append(f"{tail}/2026-12/{item}.tgz.{kind}")
            case ("poll",) if names:
                order.shuffle(names)  # type: ignore[attr-defined]
                named(world, *names[: len(names) // 2 + 1])
    named(world, *names)
    once = truth()
    world.poll()
    assert truth() == once or any(step[0] == "manifest" for step in steps)
