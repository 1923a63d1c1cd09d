"""The pacemaker's decisions: what is queued when, once, and what happens to what was lost."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Task

from ifeportal import jobs
from ifeportal.jobs import enqueue_due, lease, perform, run, seconds_to_next
from ifeportal.management.commands.pacemaker import TICK, tick
from ifeportal.models import Airline, Job
from loader.bucket import MemoryBucket
from loader.errors import WorldError

pytestmark = pytest.mark.django_db


def queued() -> list[tuple[str, tuple[str, ...]]]:
    """What waits in the queue: function and arguments."""
    return [(each.task["func"], tuple(each.task["args"])) for each in OrmQ.objects.order_by("pk")]


def done(name: str, interval: float = 60) -> None:
    run(name, interval, lambda held: None, when_due=False)


def test_every_airline_gets_a_job_and_each_is_queued_once() -> None:
    Airline.objects.create(name="ACME")
    Airline.objects.create(name="BETA")
    now = timezone.now()
    assert enqueue_due(now) == 3
    assert sorted(queued()) == [
        ("ifeportal.jobs.perform", ("fleet.jobs.discover",)),
        ("ifeportal.jobs.perform", ("fleet.jobs.poll", "ACME")),
        ("ifeportal.jobs.perform", ("fleet.jobs.poll", "BETA")),
    ]
    assert [enqueue_due(now + timedelta(seconds=after)) for after in (0, 1, 5, 60, 3600)] == [0] * 5


def test_a_job_is_queued_again_when_it_has_run_and_is_due() -> None:
    now = timezone.now()
    enqueue_due(now)
    OrmQ.objects.all().delete()
    done("discover")
    assert enqueue_due(now + timedelta(seconds=30)) == 0
    assert enqueue_due(now + timedelta(seconds=62)) == 1


def test_a_job_that_is_being_done_is_not_queued() -> None:
    enqueue_due(timezone.now())
    OrmQ.objects.all().delete()
    with lease("discover"):
        assert enqueue_due(timezone.now()) == 0
    assert enqueue_due(timezone.now()) == 1


def test_a_job_lost_with_its_worker_is_queued_again_unless_workers_are_just_late() -> None:
    now = timezone.now()
    enqueue_due(now)
    later = now + jobs.LOST_AFTER + timedelta(seconds=1)
    assert enqueue_due(later) == 0, "it still waits in the queue"
    OrmQ.objects.update(lock=now + timedelta(seconds=360))  # a worker took it, and died
    assert enqueue_due(later) == 1


def test_the_lease_of_a_worker_that_died_is_free_after_fifteen_seconds() -> None:
    enqueue_due(timezone.now())
    OrmQ.objects.all().delete()
    with lease("discover"):
        assert enqueue_due(timezone.now() + timedelta(seconds=14)) == 0
        assert enqueue_due(timezone.now() + timedelta(seconds=16)) == 1


def test_two_pacemakers_queue_a_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    enqueue = jobs._enqueue
    other: list[int] = []

    def overtaken(*args: object) -> bool:
        if not other:
            other.append(0)
            other[0] = enqueue_due(now)
        return enqueue(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "_enqueue", overtaken)
    assert (enqueue_due(now), other) == (0, [1])
    assert OrmQ.objects.count() == 1


def test_a_pacemaker_whose_clock_is_ahead_does_not_slow_the_job_down() -> None:
    """It queues what by the worker's clock is not due yet; the worker gives it back to be queued again."""
    done("discover", 10)
    ahead = timezone.now() + timedelta(seconds=12)
    assert enqueue_due(ahead) == 1
    assert run("discover", 10, lambda held: 1) is None
    assert enqueue_due(ahead) == 1


def test_jobs_of_an_airline_that_is_no_more_go_with_it() -> None:
    airline = Airline.objects.create(name="ACME")
    enqueue_due(timezone.now())
    airline.delete()
    enqueue_due(timezone.now())
    assert list(Job.objects.values_list("name", flat=True)) == ["discover"]
    perform("fleet.jobs.poll", "ACME")
    assert list(Job.objects.values_list("name", flat=True)) == ["discover"]


def test_the_pacemaker_sleeps_no_longer_than_until_the_next_job() -> None:
    assert tick() == TICK
    done("discover", 0.1)
    assert (seconds_to_next(timezone.now()) or 1) <= 0.1
    assert tick() <= 0.1


def test_a_pacemaker_waits_for_tables_that_are_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when all parts of a new system start at once. SQLite and PostgreSQL raise different errors for that."""
    ticks: list[int] = []

    def first_without_tables() -> float:
        ticks.append(len(ticks))
        if len(ticks) == 1:
            return tick()
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    monkeypatch.setattr("ifeportal.management.commands.pacemaker.tick", first_without_tables)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ifeportal_job RENAME TO another")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        call_command("pacemaker")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "manage.py migrate" in caplog.text
    assert len(ticks) == 2


def test_nothing_that_fails_comes_out_of_a_job(caplog: pytest.LogCaptureFixture) -> None:
    perform("fleet.jobs.there_is_no_such_function")
    assert "there_is_no_such_function" in caplog.text
    assert not Task.objects.exists()


def test_polling_jobs_poll_and_write_down_how_it_went(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, memory_media: MemoryBucket, memory_status: MemoryBucket
) -> None:
    monkeypatch.setattr("fleet.jobs._buckets", lambda: (memory_media, memory_status))
    memory_status.put("ACME/N1/2026-12/a.tgz.progress", b"5")
    perform("fleet.jobs.discover")
    perform("fleet.jobs.poll", "ACME")
    assert Job.objects.get(name="poll:ACME").succeeded_at is not None
    assert Airline.objects.get().tails.get().name == "N1"
    lists = memory_status.requests.list
    perform("fleet.jobs.poll", "ACME")
    assert memory_status.requests.list == lists, "not due yet"

    def away(prefix: str = "") -> object:
        raise WorldError("TIMEOUT", "no answer")

    monkeypatch.setattr(memory_status, "list", away)
    Job.objects.update(due_at=timezone.now())
    perform("fleet.jobs.poll", "ACME")
    job = Job.objects.get(name="poll:ACME")
    assert (job.failures, job.error) == (1, "status bucket: TIMEOUT: no answer")
