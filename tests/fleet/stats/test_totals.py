"""Stored totals equal a recount after any history, concurrent writers lose nothing, and a check corrects the rest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import Campaign
from fleet import feed, jobs
from fleet.archive.archiver import archive_load
from fleet.archive.restorer import restore
from fleet.choices import ServiceStatus
from fleet.ingest.apply import apply_tails
from fleet.ingest.updates import TailUpdate
from fleet.metrics import FleetCollector
from fleet.models import AirlineTotals, CampaignTotals, ItemTotals, Load, Tail, Transfer
from fleet.serialization import serialize_campaign
from fleet.service_status import set_service_status
from fleet.simulation.plan import FleetPlan, PlannedWrite, initial_reports, manifests
from fleet.simulation.traffic import changes
from fleet.state.observations import ProgressObserved
from fleet.stats import rollup
from fleet.stats.totals import recount
from ifeportal.live.models import Change
from ifeportal.models import Airline, Job
from tests.fleet.ingest.test_apply import catalog
from tests.support.counted_totals import counted_totals, stored_totals
from tests.support.polling_world import MIB, PollingWorld, load, tail
from tests.support.profiles import scaled

ITEMS = st.sampled_from("ab")
TAILS = st.sampled_from(["N1", "N2"])
CAMPAIGNS = st.sampled_from(["2026-12", "2027-01"])
MANIFESTS = st.sampled_from([{"a": 2 * MIB}, {"a": 2 * MIB, "b": 3 * MIB}, {"b": 7}])
STARTS = st.sampled_from(["2026-11-30", "2026-12-02", "2027-02-01"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("progress"), TAILS, CAMPAIGNS, ITEMS, st.sampled_from([0, 7, MIB, 2 * MIB, 3 * MIB])),
        st.tuples(st.just("error"), TAILS, CAMPAIGNS, ITEMS),
        st.tuples(st.just("remove"), TAILS, CAMPAIGNS, ITEMS, st.sampled_from(["progress", "error"])),
        st.tuples(
            st.just("manifest"), CAMPAIGNS, MANIFESTS, st.sampled_from(["2026-11-30", "2026-12-02", "2027-02-01"])
        ),
        st.tuples(st.just("heartbeat"), TAILS, st.sampled_from(["idle", "loading", "waiting"])),
        st.tuples(st.just("later"), st.sampled_from([1, 30, 700, 90_000])),
        st.tuples(st.just("duty"), TAILS, st.sampled_from(ServiceStatus.values)),
        st.tuples(st.just("delete"), st.sampled_from(["load", "tail", "campaign", "transfer"])),
        st.tuples(st.just("restore")),
    ),
    max_size=10,
)


def act(world: PollingWorld, step: tuple[Any, ...]) -> None:
    match step:
        case ("progress", tail_name, campaign, item, value):
            world.progress(f"{tail_name}/{campaign}/{item}", value)
        case ("error", tail_name, campaign, item):
            world.error(f"{tail_name}/{campaign}/{item}", "IO_ERROR: x")
        case ("remove", tail_name, campaign, item, kind):
            world.remove(f"{tail_name}/{campaign}/{item}.tgz.{kind}")
        case ("manifest", campaign, items, starts):
            world.manifest(campaign, items=items, exhibition={"starts": starts})
        case ("heartbeat", tail_name, state):
            world.write(f"{tail_name}/loader.json", b'{"state": "%s"}' % state.encode())
        case ("later", seconds):
            world.later(seconds)
        case ("duty", tail_name, duty):
            row = Tail.objects.select_related("airline").filter(name=tail_name).first()
            if row is not None:
                set_service_status(row, ServiceStatus(duty))
        case ("delete", kind):
            delete_by_hand(kind)
        case ("restore",):
            archive_and_restore(world)


def delete_by_hand(kind: str) -> None:
    """Delete the oldest row, which publishes nothing, and run the job that finds it."""
    models: dict[str, type[Model]] = {"load": Load, "tail": Tail, "campaign": Campaign, "transfer": Transfer}
    row = models[kind]._default_manager.order_by("pk").first()
    if row is not None:
        row.delete()
    feed.prune_feed()


def archive_and_restore(world: PollingWorld) -> None:
    """Archive a complete load, lose its rows, and restore them."""
    row = Load.objects.filter(status="complete", archived_at=None).order_by("pk").first()
    if row is None:
        return
    airline = Airline.objects.get(name="ACME")
    archive_load(row.pk, world.status, world.clock)
    if Load.objects.filter(pk=row.pk, archived_at__isnull=False).exists():
        Load.objects.filter(pk=row.pk).delete()
        feed.prune_feed()
        restore(airline, world.status, world.clock)


@pytest.mark.both_databases
@settings(max_examples=scaled(150, quick=5), suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=STEPS)
def test_stored_totals_equal_a_recount_after_every_step_of_any_history(db: None, steps: list[tuple[Any, ...]]) -> None:
    Airline.objects.all().delete()
    world = PollingWorld()
    for step in steps:
        act(world, step)
        assert stored_totals() == counted_totals(), f"after {step}"
        world.poll()
        assert stored_totals() == counted_totals(), f"after a poll after {step}"
    for airline in Airline.objects.all():
        assert recount(airline.pk) == []


@pytest.mark.both_databases
@pytest.mark.django_db
def test_sums_of_more_than_64_bits_and_of_unknown_sizes_are_stored(world: PollingWorld) -> None:
    for name in ("N1", "N2", "N3"):
        world.progress(f"{name}/2026-12/a", 5)
    world.poll()
    Load.objects.filter(tail__name="N3").update(bytes_done=2**62)
    Load.objects.exclude(tail__name="N3").update(bytes_total=2**63 - 1, bytes_done=2**63 - 1, items_total=4)
    airline = Airline.objects.get()
    assert recount(airline.pk) == ["campaign 2026-12", "airline"]
    assert stored_totals() == counted_totals()
    row = rollup.read_rollup(rollup.airlines(Airline.objects.all()).get())
    assert (row.bytes_done, row.bytes_total, row.loads_unknown) == (2**64 - 2, 2**64 - 2, 1)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_a_poll_that_is_killed_has_counted_what_it_has_written(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.polling.batches.TAILS_A_BATCH", 1)
    for name in ("N1", "N2"):
        world.progress(f"{name}/2026-12/a", 5)
    written = iter([True])

    def apply_once(*args: Any, **named: Any) -> Any:
        if next(written, False):
            return apply_tails(*args, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.polling.writer.apply_tails", apply_once)
    with pytest.raises(KeyboardInterrupt):
        world.poll()
    assert (Tail.objects.count(), Load.objects.count()) == (2, 1)
    assert stored_totals() == counted_totals()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_of_an_airline_lose_no_update_and_do_not_deadlock() -> None:
    world = PollingWorld()
    world.manifest(items={"a": 2 * MIB, "b": 3 * MIB})
    for number in range(6):
        world.progress(f"N{number}/2026-12/a", 7)
        world.progress(f"N{number}/2027-01/b", 7)
    world.poll()
    airline, rounds = Airline.objects.get(), scaled(20, quick=5)
    start = threading.Barrier(3)
    names = {row.name: row.pk for row in Tail.objects.all()}
    known = catalog()

    def report(tails: tuple[str, ...], step: int) -> None:
        batch = {}
        for name in tails:
            update = batch[names[name]] = TailUpdate(heard_at=world.clock)
            value = 2 * MIB if step % 2 else MIB
            observation = ProgressObserved(f"etag-{name}-{step}", world.clock + timedelta(seconds=step), value)
            update.load("2026-12").progress["a"] = observation
            update.load(f"new-{step}").progress["c"] = observation
        apply_tails(airline, batch, known, world.clock)

    def change_duty(_: tuple[str, ...], step: int) -> None:
        row = Tail.objects.select_related("airline").get(name=f"N{step % 6}")
        set_service_status(row, ServiceStatus.STORED if row.duty == ServiceStatus.ACTIVE else ServiceStatus.ACTIVE)
        check = feed.check_totals(airline, world.clock)
        assert check == [], "a check beside writers finds nothing wrong"

    def repeat(work: Callable[[tuple[str, ...], int], None], tails: tuple[str, ...]) -> None:
        try:
            for step in range(rounds):
                start.wait(60)
                work(tails, step)
        finally:
            connection.close()

    for step in range(rounds):
        known.campaigns[f"new-{step}"] = Campaign.objects.create(airline=airline, name=f"new-{step}")  # type: ignore[index]
        known.sizes[f"new-{step}"] = {}  # type: ignore[index]
    with ThreadPoolExecutor(3) as pool:
        running = [
            pool.submit(repeat, report, ("N0", "N1", "N2")),
            pool.submit(repeat, report, ("N5", "N4", "N3")),
            pool.submit(repeat, change_duty, ()),
        ]
        for each in running:
            each.result()
    assert stored_totals() == counted_totals()
    assert recount(airline.pk) == []


@pytest.mark.both_databases
@pytest.mark.django_db
def test_the_check_corrects_wrong_totals_and_reports_the_corrections(
    world: PollingWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 100)
    world.poll()
    jobs.check_totals()
    assert AirlineTotals.objects.get().corrections == 0
    right = stored_totals()
    CampaignTotals.objects.update(complete=5, tails=9)
    ItemTotals.objects.update(complete=3)
    Tail.objects.update(ready=False, primary_load=None)
    AirlineTotals.objects.update(loads=77, checked_at=None)
    Job.objects.filter(name="check_totals").update(due_at=timezone.now())
    jobs.check_totals()
    assert stored_totals() == right == counted_totals()
    row = AirlineTotals.objects.get()
    assert row.checked_at is not None
    assert row.checked_at == row.corrected_at
    assert row.correction == "1 tail, campaign 2026-12, 1 item of 2026-12, airline"
    assert row.corrections == 4
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"corrected stored totals of ACME: {row.correction}"]
    published = Change.objects.get(topic="campaign").state
    assert published == serialize_campaign(rollup.campaigns(Campaign.objects.all()).get())
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in FleetCollector().collect()
        for sample in metric.samples
    }
    assert samples["ifeportal_totals_corrections_total", "ACME"] == 4
    assert samples["ifeportal_totals_checked_timestamp_seconds", "ACME"] == row.checked_at.timestamp()


@pytest.mark.django_db
def test_the_check_continues_with_the_airlines_that_waited_longest(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.progress("N1/2026-12/a", 5)
    world.write("OTHER/N1/2026-12/a.tgz.progress", b"5")
    world.poll()
    checked: list[str] = []
    monkeypatch.setattr("fleet.feed.check_totals", lambda airline, now, lease: checked.append(airline.name))
    monkeypatch.setattr("fleet.jobs.CHECK_TIME_LIMIT", 0.0)
    jobs.check_totals()
    assert checked == []
    monkeypatch.setattr("fleet.jobs.CHECK_TIME_LIMIT", 60.0)
    Job.objects.filter(name="check_totals").update(due_at=timezone.now())
    AirlineTotals.objects.filter(airline__name="ACME").update(checked_at=timezone.now() - timedelta(days=2))
    jobs.check_totals()
    assert checked == ["OTHER", "ACME"]


@pytest.mark.django_db
def test_a_new_exhibition_date_changes_the_primary_load_of_a_tail(world: PollingWorld) -> None:
    world.manifest("2026-12", items={"a": 100}, exhibition={"starts": "2026-12-05"})
    world.manifest("2027-01", items={"a": 100}, exhibition={"starts": "2027-01-05"})
    for campaign in ("2026-12", "2027-01"):
        world.progress(f"N1/{campaign}/a", 5)
    world.poll()
    assert tail().primary_load_id == load(campaign="2026-12").pk
    world.later()
    world.manifest("2027-01", items={"a": 100}, exhibition={"starts": "2026-12-02"})
    world.poll()
    assert tail().primary_load_id == load(campaign="2027-01").pk


def live_through(world: PollingWorld, plan: FleetPlan, every: timedelta) -> int:
    """Write a simulated fleet's day to the buckets and poll at this interval; return the number of polls."""
    begin, polls = world.clock, 0
    for change in (*manifests(plan), *initial_reports(plan), *changes(plan)):
        while begin + timedelta(seconds=change.at) >= world.clock + every:
            world.clock += every
            world.poll()
            polls += 1
        write(world, change)
    world.clock += every
    world.poll()
    return polls + 1


def write(world: PollingWorld, change: PlannedWrite) -> None:
    bucket = world.media if change.key.endswith("campaign.json") else world.status
    if change.body is None:
        bucket.delete(change.key)
    else:
        bucket.put(change.key, change.body)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_a_recount_equals_the_stored_totals_after_a_simulated_day(world: PollingWorld) -> None:
    day = FleetPlan(
        airlines=2, tails=8, items=4, rate=0.01, seconds=86_400, failing=0.2, stalling=0.2, restarting=0.2, foreign=0.2
    )
    assert live_through(world, day, timedelta(hours=2)) >= 12
    assert {airline.name: recount(airline.pk) for airline in Airline.objects.all()} == {"SIM001": [], "SIM002": []}
    assert stored_totals() == counted_totals()
    assert ItemTotals.objects.filter(complete__gt=0).exists()
