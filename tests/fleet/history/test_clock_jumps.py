"""The clock of the portal's machine jumps: its jobs and commands delete nothing, say why, and go on afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from fleet import jobs
from fleet.management.commands import archive_loads
from fleet.models import Event, Load, ProgressSample, ThroughputInterval
from ifeportal.jobs.runner import JobFailed
from ifeportal.models import Airline, Job
from loader.errors import ExitCode
from tests.support.archived_loads import finished, is_archived, own_object_keys
from tests.support.polling_world import PollingWorld

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
real_now: Callable[[], datetime] = timezone.now
JUMPS = [timedelta(days=40), timedelta(days=5000), timedelta(days=-5000)]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let the clock of this machine jump."""
    return lambda span: monkeypatch.setattr(timezone, "now", lambda: real_now() + span)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> PollingWorld:
    """A load that ended 40 days ago, with its history."""
    world = PollingWorld()
    world.clock = real_now() - timedelta(days=41)
    finished(world)
    Load.objects.update(as_of=real_now() - timedelta(days=40))
    world.media.clock = world.status.clock = real_now
    monkeypatch.setattr(jobs, "_buckets", lambda: (world.media, world.status))
    monkeypatch.setattr(archive_loads, "status_bucket", lambda: world.status)
    Airline.objects.update(archive_after_days=60)
    return world


def rows() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in (ProgressSample, Event, ThroughputInterval)}


@pytest.mark.parametrize("span", JUMPS, ids=str)
def test_history_is_not_deleted_while_the_clock_is_wrong(
    world: PollingWorld, jump: Callable[[timedelta], None], span: timedelta
) -> None:
    before = rows()
    assert all(before.values())
    jump(span)
    with pytest.raises(JobFailed, match="CLOCK_SKEW: Nothing is deleted by date: the portal's clock is"):
        jobs.thin_samples()
    assert rows() == before
    assert Job.objects.get(name="thin_samples").error.startswith("CLOCK_SKEW: Nothing is deleted by date")
    jump(timedelta())
    jobs.thin_samples()
    assert rows()["Event"] == before["Event"]  # younger than 400 days
    assert 0 < rows()["ProgressSample"] < before["ProgressSample"]


@pytest.mark.parametrize("span", JUMPS, ids=str)
def test_the_reports_remain_in_the_bucket_while_the_clock_is_wrong(
    world: PollingWorld, jump: Callable[[timedelta], None], span: timedelta
) -> None:
    keys = own_object_keys(world)
    assert keys
    jump(span)
    with pytest.raises(JobFailed, match=r"^CLOCK_SKEW: Nothing is deleted by date"):
        jobs.archive_loads()
    with pytest.raises(CommandError, match="CLOCK_SKEW: Nothing is deleted by date") as refused:
        call_command("archive_loads", "--older-than", "30")
    assert refused.value.returncode == ExitCode.UNREACHABLE
    assert own_object_keys(world) == keys
    assert not is_archived()


def test_a_job_that_a_clock_ahead_put_off_is_due_once_the_clock_is_right(
    world: PollingWorld, jump: Callable[[timedelta], None]
) -> None:
    jump(timedelta(days=40))
    jobs.prune_feed()
    jump(timedelta())
    job = Job.objects.get(name="prune_feed")
    assert job.due_at > real_now() + timedelta(days=40)
    jobs.prune_feed()
    job.refresh_from_db()
    assert job.fence == 2
    assert job.due_at < real_now() + timedelta(days=2)
    jobs.prune_feed()
    job.refresh_from_db()
    assert job.fence == 2  # not due again
