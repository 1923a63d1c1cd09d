"""Concurrent workers, each with its own connection: every job is done, and none by two workers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone

from ifeportal.jobs.kinds import AirlineJob
from ifeportal.jobs.leases import lease
from ifeportal.jobs.queue import mark_viewed, most_urgent, partitions_of, set_partitions
from ifeportal.jobs.runner import run, run_due_jobs
from ifeportal.models import Airline, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
WORKERS = 4
T = TypeVar("T")
PATIENCE = 60.0  # seconds, reached only if something is broken
begun: Counter[str] = Counter()
under_way: Counter[str] = Counter()
together: list[str] = []


def do(airline: str) -> None:
    name = f"poll:{airline}"

    def work(current_lease: object) -> None:
        under_way[name] += 1
        if under_way[name] > 1:
            together.append(name)
        begun[name] += 1
        under_way[name] -= 1

    run(name, 3600, work)


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield pool


def alone(work: Callable[[], T]) -> T:
    """Run in a thread, and close its connection."""
    try:
        return work()
    finally:
        connection.close()


def test_each_job_is_done_once_however_many_workers_are_woken_together(
    settings: LazySettings, workers: ThreadPoolExecutor
) -> None:
    settings.JOBS, settings.JOBS_PER_AIRLINE = {}, {"poll": AirlineJob(f"{__name__}.do", urgent_when_viewed=True)}
    names = {f"poll:A{n}" for n in range(20)}
    Job.objects.bulk_create([Job(name=name, due_at=timezone.now()) for name in names])
    begun.clear()
    start = threading.Barrier(WORKERS)

    def woken() -> None:
        start.wait(PATIENCE)
        run_due_jobs()

    for each in [workers.submit(alone, woken) for _ in range(WORKERS)]:
        each.result(PATIENCE)
    while most_urgent() is not None:  # a worker may end early on a busy machine
        run_due_jobs()
    assert begun == Counter(names)
    assert together == []
    assert not Job.objects.exclude(holder="", failures=0).exists()


def test_a_job_is_not_taken_over_while_its_holder_commits(workers: ThreadPoolExecutor) -> None:
    """The lease expired, but `check_fence` renewed it in the transaction: another worker waits and cannot claim it."""
    asked = threading.Event()

    def take_over() -> bool:
        asked.set()
        with lease("work") as other:
            return other is not None

    with lease("work") as current_lease:
        assert current_lease is not None
        Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        with transaction.atomic():
            Airline.objects.create(name="WRITTEN")
            current_lease.check_fence()
            taken = workers.submit(alone, take_over)
            assert asked.wait(PATIENCE)
        assert taken.result(PATIENCE) is False
        current_lease.renew()


def test_watching_and_repartitioning_an_airline_never_deadlock(workers: ThreadPoolExecutor) -> None:
    """Each writes many rows at once. In a deadlock PostgreSQL ends one of the transactions with an error."""
    parts = [f"N{number}" for number in range(40)]
    set_partitions("poll:ACME", parts)

    def look() -> None:
        for _ in range(25):
            mark_viewed(["ACME"])

    def cut() -> None:
        for number in range(25):
            set_partitions("poll:ACME", parts[number % 2 :: 2])

    done = [workers.submit(alone, work) for work in (look, look, look, cut)]
    assert [each.result(PATIENCE) for each in done] == [None] * 4
    assert partitions_of("poll:ACME") == sorted(parts[::2])
