"""Who may do a piece of work: one at a time, for as long as it shows signs of life."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from ifeportal.jobs import JobFailed, Lease, LeaseLost, lease, run
from ifeportal.models import Job

pytestmark = pytest.mark.django_db


def row(name: str = "work") -> Job:
    return Job.objects.get(name=name)


def past(name: str = "work", seconds: float = 1) -> None:
    """The holder has shown no sign of life for too long."""
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
    with lease("work", 15) as held:
        assert held is not None
        with django_assert_num_queries(0):  # type: ignore[operator]
            held.alive()
        until = row().lease_until
        held._renewed = time.monotonic() - 6
        held.alive()
        assert until is not None
        assert (row().lease_until or until) > until


def test_a_success_is_written_down_and_the_next_run_due_an_interval_after_the_start() -> None:
    assert run("work", 60, lambda held: held.name) == "work"
    job = row()
    assert (job.failures, job.error, job.holder) == (0, "", "")
    assert job.started_at is not None
    assert abs((job.due_at - job.started_at).total_seconds() - 60) < 1
    assert job.succeeded_at == job.finished_at


def test_work_that_is_not_due_is_not_done_unless_asked_for() -> None:
    run("work", 60, lambda held: 1)
    assert run("work", 60, lambda held: 2) is None
    assert run("work", 60, lambda held: 3, when_due=False) == 3


def test_work_somebody_else_does_is_left_to_them() -> None:
    with lease("work"):
        assert run("work", 60, lambda held: 1, when_due=False) is None


def test_a_failure_is_raised_written_down_and_put_off_longer_each_time() -> None:
    pauses = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            run("work", 2, _fails, when_due=False)
        pauses.append((row().due_at - timezone.now()).total_seconds())
    assert row().failures == 3
    assert row().error == "ValueError: no"
    assert [round(pause) for pause in pauses] == [4, 8, 16]
    run("work", 2, lambda held: 1, when_due=False)
    assert (row().failures, row().error) == (0, "")


def test_a_failure_put_off_never_exceeds_a_minute() -> None:
    run("work", 2, lambda held: 1)
    Job.objects.update(failures=1000)
    with pytest.raises(ValueError, match="no"):
        run("work", 2, _fails, when_due=False)
    assert (row().due_at - timezone.now()).total_seconds() <= 60


def test_a_sentence_is_kept_as_it_is() -> None:
    with pytest.raises(JobFailed):
        run("work", 2, _says)
    assert row().error == "status bucket: TIMEOUT"


def test_one_who_lost_the_lease_stops_and_writes_nothing() -> None:
    def overtaken(held: Lease) -> int:
        past()
        with lease("work") as other:
            assert other is not None
            held.renew()
        return 1

    assert run("work", 60, overtaken) is None
    assert row().succeeded_at is None


def _fails(held: Lease) -> int:
    raise ValueError("no")


def _says(held: Lease) -> int:
    raise JobFailed("status bucket: TIMEOUT")
