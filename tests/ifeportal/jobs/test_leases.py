"""Leases: one worker at a time, for as long as it renews its lease."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.utils import timezone

from ifeportal.jobs.leases import LEASE_SECONDS, Lease, lease
from ifeportal.jobs.runner import JobFailed, run
from ifeportal.models import Airline, Job
from ifeportal.work_lease import LeaseLost
from tests.support.clocks import stop_clock

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def row(name: str = "work") -> Job:
    return Job.objects.get(name=name)


def past(name: str = "work", seconds: float = 1) -> None:
    """Let the lease expire."""
    Job.objects.filter(name=name).update(lease_until=timezone.now() - timedelta(seconds=seconds))


def test_only_one_holds_a_lease_and_the_next_gets_it_when_it_is_given_back() -> None:
    with lease("work") as first:
        assert first is not None
        with lease("work") as second:
            assert second is None
        with lease("other") as other:
            assert other is not None
    with lease("work") as third:
        assert third is not None
        assert third.fence > first.fence
    assert (row().holder, row().lease_until) == ("", None)


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_finds_out() -> None:
    with lease("work") as first:
        assert first is not None
        past()
        with lease("work") as second:
            assert second is not None
            with pytest.raises(LeaseLost):
                first.renew()
            first.release(error="written by one who lost it")
            assert (row().holder, row().error) == (second.holder, "")


def test_signs_of_life_renew_a_lease_but_not_every_time(django_assert_num_queries: object) -> None:
    with lease("work", 15) as current_lease:
        assert current_lease is not None
        with django_assert_num_queries(0):  # type: ignore[operator]
            current_lease.heartbeat()
        until = row().lease_until
        current_lease._renewed_at = time.monotonic() - 5.1
        current_lease.heartbeat()
        assert until is not None
        assert (row().lease_until or until) > until


def test_a_success_is_written_down_and_the_next_run_due_an_interval_after_the_start() -> None:
    assert run("work", 60, lambda current_lease: current_lease.name) == "work"
    job = row()
    assert (job.failures, job.error, job.holder) == (0, "", "")
    assert job.started_at is not None
    assert abs((job.due_at - job.started_at).total_seconds() - 60) < 1
    assert job.succeeded_at == job.finished_at


def test_work_that_is_not_due_is_not_done_unless_asked_for() -> None:
    run("work", 60, lambda current_lease: 1)
    assert run("work", 60, lambda current_lease: 2) is None
    assert run("work", 60, lambda current_lease: 3, when_due=False) == 3


def test_work_of_another_holder_is_not_taken_over() -> None:
    with lease("work"):
        assert run("work", 60, lambda current_lease: 1, when_due=False) is None


def test_a_failure_is_raised_written_down_and_put_off_longer_each_time() -> None:
    pauses = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            run("work", 2, _fails, when_due=False)
        failed = row()
        assert failed.finished_at is not None
        pauses.append((failed.due_at - failed.finished_at).total_seconds())
    assert row().failures == 3
    assert row().error == "ValueError: no"
    assert pauses == [4, 8, 16]
    run("work", 2, lambda current_lease: 1, when_due=False)
    assert (row().failures, row().error) == (0, "")


def test_a_failure_put_off_never_exceeds_a_minute() -> None:
    run("work", 2, lambda current_lease: 1)
    Job.objects.update(failures=1000)
    with pytest.raises(ValueError, match="no"):
        run("work", 2, _fails, when_due=False)
    assert (row().due_at - timezone.now()).total_seconds() <= 60


def test_a_sentence_is_stored_unchanged() -> None:
    with pytest.raises(JobFailed):
        run("work", 2, _next_delay)
    assert row().error == "status bucket: TIMEOUT"


def test_a_worker_that_lost_its_lease_stops_and_writes_no_row() -> None:
    def overtaken(current_lease: Lease) -> int:
        past()
        with lease("work") as other:
            assert other is not None
            current_lease.renew()
        return 1

    assert run("work", 60, overtaken) is None
    assert row().succeeded_at is None


def test_a_worker_that_died_is_followed_by_another_within_fifteen_seconds() -> None:
    """Count the queries of the lease, a tick of the pacemaker and a read of the queue together."""
    assert LEASE_SECONDS + 0.25 + 0.2 < 15


def test_writes_of_an_expired_holder_are_never_committed() -> None:
    with lease("work") as late:
        assert late is not None
        _write(late, "WRITTEN")
        past()
        with lease("work"), pytest.raises(LeaseLost):
            _write(late, "TOO LATE")
    assert set(Airline.objects.values_list("name", flat=True)) == {"WRITTEN"}


def test_guarded_work_renews_the_lease() -> None:
    with lease("work", 15) as current_lease:
        assert current_lease is not None
        past()
        current_lease.check_fence()
        with lease("work") as other:
            assert other is None


def test_a_job_is_due_when_its_work_requests_and_never_in_the_past() -> None:
    def slow(current_lease: Lease) -> None:
        current_lease.next_run_in = 30

    run("work", 2, slow, when_due=False)
    job = row()
    assert job.started_at is not None
    assert job.due_at == job.started_at + timedelta(seconds=30)
    run("work", 0.000001, lambda current_lease: None, when_due=False)
    job = row()
    assert job.due_at == job.finished_at


def test_the_time_of_the_last_find_is_stored_for_the_next_run() -> None:
    def finds(current_lease: Lease) -> None:
        current_lease.found_changes = True

    run("work", 60, finds)
    found = row().found_at
    assert found is not None
    assert run("work", 60, lambda current_lease: current_lease.found_at, when_due=False) == found
    assert row().found_at == found, "nothing was found this time"


def test_a_job_is_steady_since_its_first_success_after_a_long_gap(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.POLL_CEILING = 100.0
    clock = stop_clock(monkeypatch)
    steady = partial(run, "work", 60, lambda current_lease: current_lease.steady_since, when_due=False)
    assert steady() is None
    first = row().steady_since
    assert first is not None
    assert steady() == first
    clock.move(299)
    assert steady() == first
    with pytest.raises(ValueError, match="no"):
        run("work", 2, _fails, when_due=False)
    assert steady() == first, "one failure is no gap"
    clock.move(301)
    assert steady() is None
    assert (row().steady_since or first) > first


def test_a_viewer_who_arrives_during_a_run_waits_at_most_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)

    def begins(current_lease: Lease) -> None:
        assert not current_lease.is_viewed
        Job.objects.update(watched_until=timezone.now() + timedelta(seconds=45))
        current_lease.next_run_in = 60

    def sets_next_delay(current_lease: Lease) -> None:
        assert current_lease.is_viewed
        current_lease.next_run_in = 60

    for work, expected in ((begins, 2), (sets_next_delay, 60)):
        run("work", 2, work, when_due=False)
        job = row()
        assert job.started_at is not None
        assert job.due_at == job.started_at + timedelta(seconds=expected)


def _write(current_lease: Lease, name: str) -> None:
    with transaction.atomic():
        Airline.objects.create(name=name)
        current_lease.check_fence()


def _fails(current_lease: Lease) -> int:
    raise ValueError("no")


def _next_delay(current_lease: Lease) -> int:
    raise JobFailed("status bucket: TIMEOUT")
