"""A woken worker does the most urgent jobs one after the other, even if messages are lost or repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Task

from fleet.models import Transfer
from ifeportal.jobs import leases, runner
from ifeportal.jobs.broker import WAKEUP_LIMIT, ResilientBroker, seconds_to_next, wake_workers
from ifeportal.jobs.kinds import AirlineJob
from ifeportal.jobs.leases import lease
from ifeportal.jobs.queue import mark_viewed, resolve, set_partitions, sync_job_rows
from ifeportal.jobs.runner import run, run_due_jobs, uninterrupted_since
from ifeportal.models import Airline, Job
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket
from tests.support.clocks import stop_clock
from tests.support.profiles import scaled

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
done: list[str] = []


def do(airline: str, part: str = "") -> None:
    """The job function of these tests: record the call, and be due again in an hour."""
    name = f"poll:{airline}/{part}" if part else f"poll:{airline}"
    run(name, 3600, lambda current_lease: done.append(name))


def do_nothing(airline: str, part: str = "") -> None:
    """A job function that claims nothing."""
    done.append(airline)


def break_down(airline: str, part: str = "") -> None:
    done.append(airline)
    raise ValueError("no")


def fail(airline: str, part: str = "") -> None:
    def work(current_lease: leases.Lease) -> None:
        done.append(airline)
        raise ValueError("no")

    run(f"poll:{airline}", 2, work)


@pytest.fixture(autouse=True)
def work(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runner, "TIME_SLICE", 600.0)  # however slow the machine
    stop_clock(monkeypatch)
    settings.JOBS = {}
    settings.JOBS_PER_AIRLINE = {"poll": AirlineJob(f"{__name__}.do", urgent_when_viewed=True)}
    done.clear()
    yield
    done.clear()


def due(name: str, seconds: float = 0, **fields: object) -> Job:
    """Create a job that has been due for this long."""
    return Job.objects.create(name=name, due_at=timezone.now() - timedelta(seconds=seconds), **fields)


def in_(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def calls() -> int:
    number: int = OrmQ.objects.count()
    return number


def take(number: int = 1) -> None:
    """A message that a worker takes is locked until the worker confirms it."""
    for row in OrmQ.objects.filter(lock__lte=timezone.now())[:number]:
        OrmQ.objects.filter(pk=row.pk).update(lock=in_(360))


def test_watched_work_comes_first_then_the_longest_waiting() -> None:
    due("poll:A", 1)
    due("poll:B", 30)
    due("poll:C", 20, watched_until=in_(600))
    due("poll:D", 5, watched_until=in_(600))
    due("poll:E", 40, watched_until=in_(-1))
    due("poll:F", -60)
    due("poll:G", 90, lease_until=in_(600), holder="another")
    due("poll:H", 9, lease_until=in_(-1), holder="one that died")
    run_due_jobs()
    assert done == ["poll:C", "poll:D", "poll:E", "poll:B", "poll:H", "poll:A"]


def test_newly_watched_work_overtakes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    due("poll:A", 9)
    due("poll:B", 8)
    due("poll:C", 7)

    def opened(current_lease: leases.Lease) -> None:
        done.append("poll:A")
        mark_viewed(["C"])

    def do_or_open(airline: str) -> None:
        if airline == "A":
            run("poll:A", 3600, opened)
        else:
            do_as_ever(airline)

    do_as_ever = do
    monkeypatch.setattr(f"{__name__}.do", do_or_open)
    run_due_jobs()
    assert done == ["poll:A", "poll:C", "poll:B"]


def test_a_worker_ends_its_turn_though_more_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    due("poll:A", 2)
    due("poll:B", 1)
    monkeypatch.setattr(runner, "TIME_SLICE", 0.0)
    run_due_jobs()
    assert done == ["poll:A"]
    run_due_jobs()
    assert done == ["poll:A", "poll:B"]


def test_a_job_that_fails_stops_no_other(settings: LazySettings, caplog: pytest.LogCaptureFixture) -> None:
    settings.JOBS_PER_AIRLINE = {"poll": AirlineJob(f"{__name__}.fail")}
    due("poll:A", 2)
    due("poll:B", 1)
    run_due_jobs()
    assert done == ["A", "B"]
    assert "poll:A failed" in caplog.text
    assert set(Job.objects.values_list("failures", "error")) == {(1, "ValueError: no")}
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("function", "sentence"),
    [("do_nothing", "the airline does not exist"), ("break_down", "ValueError: no"), ("missing", "ImportError")],
)
def test_an_unclaimed_job_is_postponed_and_does_not_spin(settings: LazySettings, function: str, sentence: str) -> None:
    settings.JOBS_PER_AIRLINE = {"poll": AirlineJob(f"{__name__}.{function}")}
    due("poll:A", 2)
    due("poll:B", 1)
    run_due_jobs()
    run_due_jobs()
    assert done == ([] if function == "missing" else ["A", "B"])
    assert wake_workers(timezone.now()) == 0
    for job in Job.objects.all():
        assert sentence in job.error
        assert job.failures == 1


def test_work_of_an_unknown_kind_wakes_no_worker() -> None:
    due("learned later", 9)
    due("learned:A", 9)
    assert wake_workers(timezone.now()) == 0
    run_due_jobs()
    assert Job.objects.filter(fence=0, failures=0).count() == 2
    with pytest.raises(KeyError):
        resolve("learned:A")


def test_a_database_that_goes_away_ends_the_turn_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    due("poll:A")

    def away(*_: object) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(away):
        run_due_jobs()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "connection refused" in caplog.text
    assert done == []


# Wake-up messages.


def test_a_call_waits_for_each_job_that_is_due_and_free() -> None:
    for name in "ABC":
        due(f"poll:{name}")
    due("poll:D", -600)
    due("poll:E", 1, lease_until=in_(600))
    assert wake_workers(timezone.now()) == 3
    assert {(row.task["func"], row.task["args"]) for row in OrmQ.objects.all()} == {
        ("ifeportal.jobs.workers.run_due_work", ())
    }
    assert [wake_workers(in_(after)) for after in (0.001, 0.5, 0.9)] == [0] * 3, "they are still there"


def test_calls_are_bounded_however_much_is_due() -> None:
    Job.objects.bulk_create([Job(name=f"poll:A{n}", due_at=timezone.now()) for n in range(3 * WAKEUP_LIMIT)])
    for _ in range(5):
        wake_workers(timezone.now())
    assert calls() == WAKEUP_LIMIT


def test_a_call_lost_with_its_worker_costs_nothing_even_while_others_wait() -> None:
    """A worker is killed with its message. The queue delivers it again after minutes, which is not needed."""
    for name in "ABC":
        due(f"poll:{name}")
    wake_workers(timezone.now())
    take()
    assert wake_workers(timezone.now()) == 1
    run_due_jobs()
    assert sorted(done) == ["poll:A", "poll:B", "poll:C"]


def test_calls_that_are_repeated_or_late_find_nothing_to_do() -> None:
    due("poll:A")
    wake_workers(timezone.now())
    for _ in range(3):
        run_due_jobs()
    assert done == ["poll:A"]
    assert wake_workers(timezone.now()) == 0


@pytest.mark.parametrize("seed", range(scaled(40, quick=10)))
def test_every_job_is_done_once_whatever_becomes_of_the_calls(seed: int) -> None:
    """Messages are lost, repeated and reordered, with two pacemakers."""
    dice = random.Random(seed)
    names = [f"poll:A{n}" for n in range(6)]
    for name in names:
        due(name, dice.random())
    while len(done) < len(names):
        for _ in range(dice.randint(1, 2)):
            wake_workers(timezone.now())
        match dice.choice(["lost", "answered", "twice"]):
            case "lost":
                take(dice.randint(1, 3))
            case "answered":
                run_due_jobs()
            case "twice":
                run_due_jobs()
                run_due_jobs()
    assert sorted(done) == names
    assert calls() <= 3 * WAKEUP_LIMIT


def test_another_that_is_faster_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers read the same job; one claims it between the read and the claim of the other."""
    due("poll:A")
    claim = runner._perform
    overtaken: list[str] = []

    def late(job: Job) -> None:
        if not overtaken:
            overtaken.append(job.name)
            claim(job)
        claim(job)

    monkeypatch.setattr(runner, "_perform", late)
    run_due_jobs()
    assert (overtaken, done) == (["poll:A"], ["poll:A"])
    assert Job.objects.get().failures == 0


def test_a_pacemaker_with_a_fast_clock_causes_no_wakeups_and_no_delays() -> None:
    due("poll:A", -10)
    assert wake_workers(in_(12)) == 1
    run_due_jobs()
    assert done == []
    Job.objects.update(due_at=timezone.now())
    run_due_jobs()
    assert done == ["poll:A"]


@pytest.mark.django_db(transaction=True)
def test_the_broker_waits_for_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ifeportal.jobs.broker.RETRY_DELAY", 0.0)
    due("poll:A")
    wake_workers(timezone.now())
    broker = ResilientBroker()
    asked: list[str] = []

    def away(_: object, sql: str, *__: object) -> None:
        asked.append(sql)
        raise OperationalError("connection refused")

    with connection.execute_wrapper(away):
        assert broker.dequeue() is None
        broker.acknowledge(1)
    assert len(asked) >= 2
    assert caplog.text.count("the database is not responding") == 2
    assert "Traceback" not in caplog.text
    OrmQ.objects.update(lock=in_(-1))
    assert len(broker.dequeue()) == 1


# Job rows.


def test_every_airline_gets_its_jobs_and_they_go_with_it(settings: LazySettings) -> None:
    settings.JOBS = {"discover": "fleet.jobs.discover"}
    airline = Airline.objects.create(name="ACME")
    Airline.objects.create(name="ACME2")
    sync_job_rows()
    set_partitions("poll:ACME", ["N1", "N2/"])
    set_partitions("poll:ACME2", ["N1"])
    due("another's work")
    sync_job_rows()
    others = ["another's work", "discover", "poll:ACME2", "poll:ACME2/N1"]
    assert names() == sorted([*others, "poll:ACME", "poll:ACME/N1", "poll:ACME/N2/"])
    airline.delete()
    sync_job_rows()
    assert names() == others


def names() -> list[str]:
    return sorted(Job.objects.values_list("name", flat=True))


def test_parts_are_jobs_of_their_own_and_follow_what_is_wanted() -> None:
    due("poll:ACME")
    set_partitions("poll:ACME", ["N1", "N2", "N5DN/"])
    run_due_jobs()
    assert sorted(done) == ["poll:ACME", "poll:ACME/N1", "poll:ACME/N2", "poll:ACME/N5DN/"]
    set_partitions("poll:ACME", ["N1", "N3"])
    assert names() == ["poll:ACME", "poll:ACME/N1", "poll:ACME/N3"]
    assert Job.objects.get(name="poll:ACME/N1").fence == 1, "what stays is the same row"
    set_partitions("poll:ACME", [""])
    assert names() == ["poll:ACME"]


def test_a_part_is_called_with_its_airline_and_its_name() -> None:
    path = f"{__name__}.do"
    assert resolve("poll:A:B") == (path, "A:B")
    assert resolve("poll:ACME/N5DN/") == (path, "ACME", "N5DN/")


def test_the_longest_names_there_can_be_have_room() -> None:
    """PostgreSQL rejects a text that is too long; SQLite does not."""
    airline, part = "A" * 200, "é" * 100 + "/"
    due(f"poll:{airline}")
    set_partitions(f"poll:{airline}", [part])
    run_due_jobs()
    assert len(done) == 2


def test_the_pacemaker_returns_the_time_of_the_next_due_job() -> None:
    now = timezone.now()
    assert seconds_to_next(now) is None
    first = due("poll:A", -30)
    due("poll:B", -60)
    assert seconds_to_next(now) == (first.due_at - now).total_seconds()


# Viewed airlines.


@pytest.fixture
def interval(settings: LazySettings) -> float:
    settings.POLL_INTERVAL = 2.0
    return 2.0


def resting(name: str, started: float, due_in: float, **fields: object) -> None:
    """Create a job that started this many seconds ago and is due in this many."""
    now = timezone.now()
    Job.objects.create(
        name=name, started_at=now - timedelta(seconds=started), due_at=now + timedelta(seconds=due_in), **fields
    )


def job(name: str) -> Job:
    return Job.objects.get(name=name)


def test_an_open_page_has_its_airline_and_all_parts_of_it_polled_now_and_first(interval: float) -> None:
    for name in ("poll:ACME", "poll:ACME/N1", "poll:ACME2", "poll:BETA"):
        resting(name, 20, 40)
    mark_viewed(["ACME"])
    now = timezone.now()
    assert {row.name for row in Job.objects.due(now)} == {"poll:ACME", "poll:ACME/N1"}
    assert {row.name for row in Job.objects.filter(watched_until__gt=now)} == {"poll:ACME", "poll:ACME/N1"}


def test_an_open_page_accelerates_only_work_whose_results_it_shows(interval: float, settings: LazySettings) -> None:
    settings.JOBS_PER_AIRLINE = {**settings.JOBS_PER_AIRLINE, "report": AirlineJob(f"{__name__}.do")}
    for name in ("poll:ACME", "report:ACME", "report:ACME/N1"):
        resting(name, 20, 40)
    mark_viewed(["ACME"])
    assert {row.name for row in Job.objects.filter(watched_until__gt=timezone.now())} == {"poll:ACME"}


def test_watching_makes_nothing_faster_than_the_interval_nor_later_than_it_was(interval: float) -> None:
    resting("poll:ACME", 0.5, 40)
    resting("poll:SOON", 1, 0.2)
    resting("poll:LATE", 50, -10)
    before = {row.name: row.due_at for row in Job.objects.all()}
    mark_viewed(["ACME", "SOON", "LATE"])
    acme = job("poll:ACME")
    assert acme.started_at is not None
    assert acme.due_at == acme.started_at + timedelta(seconds=interval)
    assert {name: job(name).due_at for name in ("poll:SOON", "poll:LATE")} == {
        name: at for name, at in before.items() if name != "poll:ACME"
    }


def test_continued_viewing_accelerates_no_job_and_failures_preserve_their_pause(interval: float) -> None:
    resting("poll:ACME", 20, 40, watched_until=in_(15))
    resting("poll:BETA", 20, 40, failures=3)
    mark_viewed(["ACME", "BETA"])
    assert not Job.objects.due(timezone.now()).exists()
    assert not Job.objects.filter(watched_until__lt=in_(30)).exists()


def test_watching_costs_the_same_for_any_number_of_jobs_even_none(
    interval: float, django_assert_num_queries: Callable[..., object]
) -> None:
    for name in ("poll:ACME", "poll:ACME/N1", "poll:BETA"):
        resting(name, 20, 40)
    with django_assert_num_queries(4):  # type: ignore[attr-defined]  # a transaction: lock, then write
        mark_viewed(["ACME", "BETA"])
    mark_viewed([])
    mark_viewed(["NOBODY"])


# The fleet's jobs.


@pytest.fixture
def fleet(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, memory_media: MemoryBucket, memory_status: MemoryBucket
) -> MemoryBucket:
    settings.JOBS = {"discover": "fleet.jobs.discover"}
    settings.JOBS_PER_AIRLINE = {"poll": AirlineJob("fleet.jobs.poll")}
    settings.POLL_INTERVAL, settings.POLL_CEILING = 2.0, 60.0
    monkeypatch.setattr("fleet.jobs._buckets", lambda: (memory_media, memory_status))
    return memory_status


def polled(quiet: float | None = None, **fields: object) -> float:
    """Poll ACME again, `quiet` seconds after its last change. Return the pause to the next poll."""
    if quiet is not None:
        fields["found_at"] = timezone.now() - timedelta(seconds=quiet)
    due_at = timezone.now()
    Job.objects.filter(name="poll:ACME").update(due_at=due_at, **fields)
    run_due_jobs()
    return (job("poll:ACME").due_at - due_at).total_seconds()


@pytest.mark.parametrize(("late", "from_due"), [(0.4, True), (30.0, False)])
def test_short_delays_of_the_start_do_not_add_up(late: float, from_due: bool) -> None:
    before = due("poll:ACME", late)
    do("ACME")
    after = Job.objects.get()
    assert after.started_at is not None
    assert after.due_at - (before.due_at if from_due else after.started_at) == timedelta(hours=1)


def test_polling_jobs_poll_and_write_down_how_it_went(fleet: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.put("ACME/N1/2026-12/a.tgz.progress", b"5")
    sync_job_rows()
    run_due_jobs()
    sync_job_rows()
    run_due_jobs()
    assert job("poll:ACME").succeeded_at is not None
    assert Airline.objects.get().tails.get().name == "N1"
    lists = fleet.requests.list
    run_due_jobs()
    assert fleet.requests.list == lists, "not due yet"

    def away(prefix: str = "", *_: object, **__: object) -> object:
        raise WorldError(Code.TIMEOUT, "no answer")

    monkeypatch.setattr(fleet, "list", away)
    Job.objects.update(due_at=timezone.now())
    run_due_jobs()
    failed = job("poll:ACME")
    assert (failed.failures, failed.error) == (1, "status bucket: TIMEOUT: no answer")


def test_an_airline_is_polled_at_the_interval_while_it_moves_and_ever_less_often_when_it_does_not(
    fleet: MemoryBucket,
) -> None:
    Airline.objects.create(name="ACME")
    sync_job_rows()
    assert polled() == 2, "a new one"
    assert [round(polled(quiet), 1) for quiet in (1, 20, 50, 300, 10**6)] == [2, 2, 5, 30, 60]
    fleet.put("ACME/N1/2026-12/a.tgz.progress", b"5")
    assert polled(10**6) == 2, "something moves again"
    assert polled() == 2
    assert polled(10**6, watched_until=in_(20)) == 2, "a page is open"
    assert polled(10**6, watched_until=in_(-1)) == 60, "and not any more"


def test_with_bucket_events_listing_is_only_the_safety_net(fleet: MemoryBucket, settings: LazySettings) -> None:
    Airline.objects.create(name="ACME")
    sync_job_rows()
    now = timezone.now()
    events = due("take_events", -3600, succeeded_at=now, found_at=now)
    assert polled(1) == 2, "no queue is set"
    settings.STATUS_EVENTS_QUEUE_URL = "https://sqs.example.org/events"
    assert polled(1) == 60
    assert polled(1, watched_until=in_(20)) == 60
    Job.objects.filter(pk=events.pk).update(succeeded_at=now - timedelta(seconds=61))
    assert polled(1) == 2, "the queue is silent"


def test_a_large_airline_is_polled_in_parts_that_are_jobs_of_their_own(
    fleet: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.reconcile.partitions.UNPARTITIONED_LIMIT", 3)
    monkeypatch.setattr("fleet.reconcile.partitions.PARTITION_KEYS", 2)
    for tail in ("A1", "A2", "B1", "B2"):
        fleet.put(f"ACME/{tail}/2026-12/a.tgz.progress", b"5")
    Airline.objects.create(name="ACME")
    sync_job_rows()
    for _ in range(3):
        Job.objects.update(due_at=timezone.now())
        run_due_jobs()
    assert len(names()) > 2, "cut"
    assert set(Job.objects.values_list("failures", flat=True)) == {0}
    fleet.put("ACME/B2/2026-12/a.tgz.progress", b"7")
    Job.objects.exclude(name="poll:ACME").update(due_at=timezone.now())
    run_due_jobs()
    assert Transfer.objects.get(load__tail__name="B2").bytes_done == 7


def test_an_airline_is_steady_since_all_its_parts_are() -> None:
    now = timezone.now()
    hour, minute = now - timedelta(hours=1), now - timedelta(minutes=1)
    Job.objects.create(name="poll:ACME", due_at=now, succeeded_at=minute, steady_since=hour)
    part = Job.objects.create(name="poll:ACME/N1", due_at=now, succeeded_at=minute, steady_since=minute)
    with lease("poll:ACME") as current_lease:
        assert current_lease is not None
        assert uninterrupted_since(current_lease) == minute
        Job.objects.filter(pk=part.pk).update(succeeded_at=hour)
        assert uninterrupted_since(current_lease) is None, "it has not been read for an hour"
        part.delete()
        assert uninterrupted_since(current_lease) == hour


def test_thinning_overlaps_with_the_previous_run(fleet: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime | None] = []
    monkeypatch.setattr("fleet.history.retention.thin_samples", lambda now, since, lease: asked.append(since))
    for _ in range(2):
        perform("fleet.jobs.thin_samples")
    at = job("thin_samples").succeeded_at
    assert at is not None
    assert asked[0] is None
    assert asked[1] is not None
    assert asked[1] < at - timedelta(minutes=5)


def perform(path: str) -> None:
    Job.objects.update(due_at=timezone.now())
    import_string(path)()


def test_the_job_of_a_deleted_airline_does_nothing(fleet: MemoryBucket) -> None:
    due("poll:GONE")
    run_due_jobs()
    assert fleet.requests.list == 0
    assert job("poll:GONE").fence == 0


def test_a_lease_is_free_when_its_worker_has_died() -> None:
    due("poll:A")
    with lease("poll:A"):
        assert wake_workers(timezone.now()) == 0
        assert wake_workers(in_(leases.LEASE_SECONDS + 0.1)) == 1


def test_times_written_by_a_fast_clock_delay_no_job() -> None:
    ahead = 40 * 86_400
    due("poll:A", -ahead, started_at=in_(ahead))
    due("poll:B", 1, lease_until=in_(ahead), holder="one that died")
    due("poll:C", 2, watched_until=in_(ahead))
    due("poll:D", -ahead, started_at=in_(-60))  # put off on purpose
    run_due_jobs()
    assert sorted(done) == ["poll:A", "poll:B", "poll:C"]
    assert all(job.due_at < in_(7200) for job in Job.objects.exclude(name="poll:D"))
    run_due_jobs()
    assert len(done) == 3


def test_a_job_is_not_steady_since_a_time_that_has_not_come() -> None:
    due("poll:A", 1, succeeded_at=in_(3600), steady_since=in_(1800))
    run_due_jobs()
    assert Job.objects.get(name="poll:A").steady_since <= timezone.now()  # type: ignore[operator]
