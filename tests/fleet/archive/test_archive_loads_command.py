"""`archive_loads` as an operator uses it, and runs of the job that does the same."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.utils import timezone

from fleet import jobs, usage
from fleet.archive import scheduler
from fleet.management.commands import archive_loads as module
from fleet.models import Load, Usage
from ifeportal.jobs.runner import JobFailed
from ifeportal.models import Airline, Job
from loader.errors import Code, ExitCode, WorldError
from tests.support.archived_loads import FailingBucket, OverriddenBucket, finished, is_archived, own_object_keys
from tests.support.polling_world import PollingWorld


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> PollingWorld:
    """A world with two loads that ended long ago by the clock of this machine."""
    world = PollingWorld()
    world.clock = timezone.now() - timedelta(days=41)
    monkeypatch.setattr(module, "status_bucket", lambda: world.status)
    finished(world)
    finished(world, "N2")
    Load.objects.update(as_of=timezone.now() - timedelta(days=40))
    world.status.clock = timezone.now
    world.status.list_prefixes()
    return world


def archive_loads(*options: str) -> str:
    out = StringIO()
    call_command("archive_loads", *options, stdout=out)
    return out.getvalue()


def test_the_command_does_nothing_without_an_age_limit(world: PollingWorld) -> None:
    assert archive_loads().startswith("0 loads were archived, 0 skipped")
    assert not is_archived()


def test_a_dry_run_reports_the_planned_work_and_its_cost(world: PollingWorld) -> None:
    report = json.loads(archive_loads("--dry-run", "--older-than", "30", "--json"))
    assert (report["loads"], report["objects"], report["delete_requests"], report["list_requests"]) == (1, 4, 4, 2)
    assert report["usd"] == pytest.approx(3 * 0.000005 + 6 * 0.0000004)
    assert len(own_object_keys(world)) == 4
    assert "1 loads would be archived" in archive_loads("--dry-run", "--older-than", "30")


def test_the_command_archives_loads_and_records_usage(world: PollingWorld) -> None:
    usage.flush(timezone.now(), at_once=True)
    Usage.objects.all().delete()
    planned = json.loads(archive_loads("--dry-run", "--older-than", "30", "--json"))
    done = json.loads(archive_loads("--older-than", "30", "--json"))
    assert done == planned
    assert is_archived()
    books = Usage.objects.get(airline__name="ACME")
    assert (books.put_requests, books.delete_requests) == (1, 4)


def test_each_archived_load_is_reported_in_a_line(world: PollingWorld, settings: LazySettings) -> None:
    settings.ARCHIVE_AFTER = 30
    lines = archive_loads("--airline", "ACME").splitlines()
    assert lines[0] == "ACME N1 2026-12: 4 objects"
    assert lines[1].startswith("1 loads were archived, 0 skipped. 4 objects were replaced by 1 with ")


def test_an_airline_that_is_not_there_is_a_wrong_usage(world: PollingWorld) -> None:
    with pytest.raises(CommandError) as caught:
        archive_loads("--airline", "NOPE")
    assert caught.value.returncode == ExitCode.USAGE


@pytest.mark.parametrize("days", ["-1", "x", "²", "1e3", "99999"])
def test_days_are_a_whole_number(world: PollingWorld, days: str) -> None:
    with pytest.raises(CommandError):
        archive_loads(f"--older-than={days}")


def test_a_refusal_of_the_store_is_reported_with_its_code(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = FailingBucket(world.status, 2, WorldError(Code.FORBIDDEN, "PUT: access denied"))
    monkeypatch.setattr(module, "status_bucket", lambda: failing)
    with pytest.raises(CommandError, match="FORBIDDEN: PUT: access denied") as caught:
        archive_loads("--older-than", "30")
    assert failing.fired
    assert caught.value.returncode == ExitCode.UNREACHABLE
    assert len(own_object_keys(world)) == 4


def test_a_turn_archives_what_is_due_and_ends_in_time(world: PollingWorld) -> None:
    Airline.objects.update(archive_after_days=30)
    assert scheduler.run_for(world.status, timezone.now, 0.0) == (True, [])
    assert is_archived()
    assert scheduler.run_for(world.status, timezone.now, 60.0) == (False, [])


def test_a_turn_brings_back_what_the_database_does_not_know(world: PollingWorld) -> None:
    archive_loads("--older-than", "30")
    Airline.objects.all().delete()
    Airline.objects.create(name="ACME")
    assert scheduler.run_for(world.status, timezone.now, 60.0) == (False, [])
    assert is_archived()


def test_missing_permissions_of_one_airline_do_not_block_the_next(world: PollingWorld) -> None:
    def refuse(key: str, body: bytes, **condition: bool) -> str:
        raise WorldError(Code.FORBIDDEN, f"PUT {key}: access denied")

    strict: Any = OverriddenBucket(world.status, put=refuse)
    Airline.objects.update(archive_after_days=30)
    Airline.objects.create(name="BETA")
    before = strict.requests.list
    more, failures = scheduler.run_for(strict, timezone.now, 60.0)
    assert (more, len(failures)) == (False, 1)
    assert failures[0].startswith("ACME: FORBIDDEN: PUT ACME/.archive/")
    assert strict.requests.list - before == 3  # two archives, and the load


def test_the_jobs_do_it_by_themselves(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    Airline.objects.update(archive_after_days=30)
    monkeypatch.setattr(jobs, "_buckets", lambda: (world.media, world.status))
    jobs.archive_loads()
    assert is_archived()
    jobs.prune_feed()
    jobs.thin_samples()
    names = ["archive_loads", "prune_feed", "thin_samples"]
    done = Job.objects.filter(name__in=names, failures=0, succeeded_at__isnull=False)
    assert sorted(done.values_list("name", flat=True)) == names
    assert all(job.due_at > timezone.now() for job in done)


def test_a_job_without_permissions_reports_the_missing_ones(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    Airline.objects.update(archive_after_days=30)
    failing = FailingBucket(world.status, 3, WorldError(Code.FORBIDDEN, "PUT: access denied"))
    monkeypatch.setattr(jobs, "_buckets", lambda: (world.media, failing))
    with pytest.raises(JobFailed, match="ACME: FORBIDDEN: PUT: access denied"):
        jobs.archive_loads()
    assert failing.fired
    assert Job.objects.get(name="archive_loads").error == "ACME: FORBIDDEN: PUT: access denied"
