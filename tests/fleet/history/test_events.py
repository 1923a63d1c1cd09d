"""The events and the throughput that polls record."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.history import events
from fleet.history.events import load_history_state, transfer_history_state
from fleet.models import Event, Load, Tail, ThroughputInterval, Transfer
from fleet.stats.throughput import add_received, interval_start, prune, received_today, throughput
from ifeportal.models import Airline
from loader.contract.item_reports import COUNT_LIMIT
from tests.support.polling_world import PollingWorld, load, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
PATH = "N1/2026-12"


def events_of(content: str = "", name: str = "N1") -> list[tuple[str, str, int]]:
    """Return state, code and bytes of the events, oldest first."""
    rows = Event.objects.filter(load__tail__name=name, content=content).order_by("at", "pk")
    return list(rows.values_list("state", "error_code", "bytes_done"))


def moved() -> int:
    return sum(ThroughputInterval.objects.values_list("bytes", flat=True))


@pytest.fixture
def two(world: PollingWorld) -> PollingWorld:
    """Announce two items of 100 bytes."""
    world.manifest(items={"a": 100, "b": 100})
    for item in "ab":
        world.progress(f"{PATH}/{item}", 0)
    world.poll()
    world.later()
    return world


def test_the_events_of_a_load_are_in_order(two: PollingWorld) -> None:
    for value in (10, 20, 60):
        two.progress(f"{PATH}/a", value)
        two.poll()
        two.later()
    two.error(f"{PATH}/a", "IO_ERROR: disk")
    two.poll()
    two.later()
    two.remove(f"{PATH}/a.tgz.error")
    two.progress(f"{PATH}/a", 30)
    two.poll()
    two.later()
    for item in "ab":
        two.progress(f"{PATH}/{item}", 100)
    two.poll()
    assert events_of("a") == [
        ("loading", "", 10),
        ("failed", "IO_ERROR", 60),
        ("restarted", "", 30),
        ("complete", "", 100),
    ]
    assert events_of("b") == [("complete", "", 100)]
    states = [state for state, _, _ in events_of()]
    assert (states[0], states[-1]) == ("pending", "complete")
    assert "failed" in states
    assert moved() == 60 + 70 + 100, "a step back takes nothing away"
    assert Event.objects.filter(content="").order_by("pk").last() == Event.objects.get(content="", at=two.clock)


def test_a_finished_fleet_that_is_first_met_is_one_event_a_load_and_no_bytes(world: PollingWorld) -> None:
    world.manifest(items=dict.fromkeys("abcd", 100))
    for number in range(6):
        for item in "abcd":
            world.progress(f"N{number}/2026-12/{item}", 100)
    world.error("N5/2026-12/e", "NO_SPACE: full")
    world.poll()
    assert Event.objects.filter(content="").count() == 6
    assert list(Event.objects.exclude(content="").values_list("content", "error_code")) == [("e", "NO_SPACE")]
    assert not ThroughputInterval.objects.exists()


def test_events_without_a_state_change_are_not_written(two: PollingWorld) -> None:
    two.progress(f"{PATH}/a", 10)
    two.poll()
    two.later()
    before = Event.objects.count()
    two.progress(f"{PATH}/a", 20)
    with CaptureQueriesContext(connection) as queries:
        two.poll()
    assert Event.objects.count() == before
    assert not [query for query in queries if 'INTO "fleet_event"' in query["sql"]]
    assert len([query for query in queries if 'INTO "fleet_moved"' in query["sql"]]) == 1


def test_a_batch_of_events_is_one_statement(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100})
    for number in range(8):
        world.progress(f"N{number}/2026-12/a", 0)
    world.poll()
    world.later()
    for number in range(8):
        for item in "ab":
            world.progress(f"N{number}/2026-12/{item}", 50)
    with CaptureQueriesContext(connection) as queries:
        world.poll()
    assert len([query for query in queries if 'INTO "fleet_event"' in query["sql"]]) == 1
    assert Event.objects.filter(state="loading").count() == 8 * 3


def test_a_stall_becomes_an_event_of_the_process_that_detects_it(two: PollingWorld) -> None:
    row, item = load(), transfer("a")
    previous, item_previous = load_history_state(row), transfer_history_state(item)
    Load.objects.update(status="loading", stalled=True)
    Transfer.objects.filter(pk=item.pk).update(status="loading", stalled=True)
    row = load()
    with CaptureQueriesContext(connection) as queries:
        events.record_load_events([(previous, row)], two.clock)
        events.record_load_events([(load_history_state(row), row)], two.clock)
    assert len(queries) == 1
    events.record_transfer_events([(item_previous, transfer("a"))], two.clock)
    assert events_of()[-1][0] == events_of("a")[-1][0] == "stalled"
    assert Event.objects.filter(state="stalled", at=two.clock).count() == 2


def test_bytes_are_counted_in_slots_of_five_minutes_by_airline_and_added_up(world: PollingWorld) -> None:
    acme, beta = (Airline.objects.create(name=name) for name in ("ACME", "BETA"))
    late = world.clock.replace(hour=13, minute=7, second=59)
    for airline, number, at in (
        (acme, 5, world.clock),
        (acme, 6, world.clock + timedelta(minutes=4, seconds=59)),
        (acme, 7, late),
        (beta, 8, world.clock),
        (acme, 90, world.clock - timedelta(days=1)),
        (acme, 0, late + timedelta(hours=1)),
        (acme, -3, late + timedelta(hours=1)),
    ):
        add_received(airline, number, at)
    assert ThroughputInterval.objects.count() == 4
    assert interval_start(late).minute == 5
    with CaptureQueriesContext(connection) as queries:
        assert received_today([acme, beta], late) == {acme.pk: 18, beta.pk: 8}
    assert len(queries) == 1
    day = throughput([acme.pk, beta.pk], late)
    assert (len(day.at), day.bytes, day.received[-1], day.at[-1]) == (289, 26, 7, interval_start(late))
    assert (day.rates()[-1], throughput([acme.pk], interval_start(late)).rates()[-1]) == (0, None)
    assert prune(interval_start(late) + timedelta(days=400)) == 3
    assert ThroughputInterval.objects.count() == 1


def test_byte_counts_are_bounded(world: PollingWorld) -> None:
    acme = Airline.objects.create(name="ACME")
    for number in (COUNT_LIMIT * 4, 17, COUNT_LIMIT):
        add_received(acme, number, world.clock)
    add_received(acme, COUNT_LIMIT, world.clock - timedelta(minutes=5))
    assert received_today([acme], world.clock)[acme.pk] == 2 * COUNT_LIMIT


def test_a_manifest_that_grows_moves_no_bytes(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress(f"{PATH}/a", 10)
    world.poll()
    world.later()
    world.progress(f"{PATH}/a", 150)
    world.poll()
    world.later()
    world.manifest(items={"a": 200})
    world.poll()
    assert (transfer("a").bytes_done, moved()) == (150, 90)


def test_an_item_missing_from_the_manifest_counts_from_its_first_byte(world: PollingWorld) -> None:
    world.progress(f"{PATH}/a", 10)
    world.poll()
    world.later()
    world.progress(f"{PATH}/strange", 40)
    world.poll()
    assert moved() == 40
    assert events_of("strange") == [("loading", "", 40)]


def test_an_event_goes_with_its_tail(two: PollingWorld) -> None:
    assert Event.objects.exists()
    Tail.objects.get().delete()
    assert not Event.objects.exists()
