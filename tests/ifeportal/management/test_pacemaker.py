"""Pacemakers: of several, one at a time wakes the workers, as long as any is alive."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from ifeportal.jobs.leases import lease
from ifeportal.jobs.runner import run
from ifeportal.management.commands import pacemaker
from ifeportal.management.commands.pacemaker import LEASE, STANDBY_DELAY, TICK, Scheduler, lead
from ifeportal.models import PACEMAKER, Airline, Job
from ifeportal.work_lease import LeaseLost

pytestmark = pytest.mark.django_db
LONG = 600.0  # seconds, because a test may take longer than the pacemaker's lease


@pytest.fixture(autouse=True)
def work(settings: LazySettings) -> None:
    settings.JOBS = {"discover": "fleet.jobs.discover"}


@pytest.fixture
def rounds() -> Iterator[Scheduler]:
    with lease(PACEMAKER, LONG) as current_lease:
        assert current_lease is not None
        yield Scheduler(current_lease)


def test_the_pacemaker_creates_rows_wakes_workers_and_sleeps_until_the_next_job(
    rounds: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    Airline.objects.create(name="ACME")
    assert rounds.tick() == TICK
    assert set(Job.objects.without_pacemaker().values_list("name", flat=True)) == {"discover", "poll:ACME"}
    assert OrmQ.objects.count() == 2
    at = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: at)
    run("discover", 0.1, lambda current_lease: None, when_due=False)
    assert 0 < rounds.tick() <= 0.1


def test_a_second_pacemaker_stands_by_and_queues_no_job(rounds: Scheduler) -> None:
    assert lead(threading.Event()) == STANDBY_DELAY
    assert not OrmQ.objects.exists()


def test_a_pacemaker_that_was_replaced_stands_by(rounds: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    Job.objects.filter(name=PACEMAKER).update(lease_until=timezone.now() - timedelta(seconds=1))
    with lease(PACEMAKER, LEASE) as other:
        assert other is not None
        rounds.lease._renewed_at -= LONG
        with pytest.raises(LeaseLost):
            rounds.tick()


def test_a_stopped_process_frees_its_place_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def last(self: Scheduler) -> float:
        stop.set()
        return 0.0

    monkeypatch.setattr(Scheduler, "tick", last)
    lead(stop)
    with lease(PACEMAKER) as other:
        assert other is not None
        assert other.fence == 2


def test_the_place_of_one_that_died_is_free_within_seconds() -> None:
    assert LEASE <= 3
    with lease(PACEMAKER, LEASE):
        until = Job.objects.get(name=PACEMAKER).lease_until
        assert until is not None
        assert (until - timezone.now()).total_seconds() <= LEASE


def test_the_pacemaker_waits_for_missing_tables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All parts of a new system start at once. SQLite and PostgreSQL raise different errors for missing tables."""
    attempts: list[int] = []

    def first_without_tables(stop: threading.Event) -> float:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            return lead(stop)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)
        return 0.0

    monkeypatch.setattr(pacemaker, "lead", first_without_tables)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ifeportal_job RENAME TO another")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        call_command("pacemaker")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "manage.py migrate" in caplog.text
    assert len(attempts) == 2
