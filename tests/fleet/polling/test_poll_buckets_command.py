"""`poll_buckets` as an operator or a script uses it."""

from __future__ import annotations

import json
import os
import signal
import threading
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from fleet import usage
from fleet.management.commands.poll_buckets import Polling, PollingStopped
from fleet.models import Tail, Usage
from ifeportal.jobs.leases import lease
from ifeportal.models import Airline, Job
from loader.errors import Code, ExitCode, WorldError
from tests.support.polling_world import PollingWorld, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> PollingWorld:
    world = PollingWorld()
    monkeypatch.setattr("fleet.management.commands.poll_buckets.media_bucket", lambda: world.media)
    monkeypatch.setattr("fleet.management.commands.poll_buckets.status_bucket", lambda: world.status)
    return world


def poll_buckets(*options: str) -> str:
    out = StringIO()
    call_command("poll_buckets", *options, stdout=out)
    return out.getvalue()


def away(*_: object, **__: object) -> Any:
    raise WorldError(Code.TIMEOUT, "the store is away")


def test_once_with_json_prints_one_object_as_the_contract_has_it(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.status.put("ACME/odd", b"")
    result = json.loads(poll_buckets("--once", "--json"))
    seconds = result.pop("seconds")
    assert isinstance(seconds, float)
    assert result == {
        "list_requests": 4,
        "get_requests": 2,
        "objects_seen": 3,
        "objects_changed": 2,
        "transfers_changed": 1,
        "anomalies": 1,
    }


def test_once_prints_a_readable_line_and_the_job_records_its_last_success(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 50)
    assert "1 of 1 objects changed, 1 transfers written, 0 anomalies open; 4 LIST, 1 GET" in poll_buckets("--once")
    assert Job.objects.get(name="poll:ACME").succeeded_at is not None


def test_an_airline_not_known_yet_is_made_if_it_has_objects(world: PollingWorld) -> None:
    world.status.put("NEW/N1/c/a.tgz.progress", b"5")
    world.status.put("OTHER/N1/c/a.tgz.progress", b"5")
    poll_buckets("--once", "--airline", "NEW")
    assert [row.name for row in Airline.objects.all()] == ["NEW"]
    assert Tail.objects.get().discovered


def test_an_unknown_airline_is_a_usage_error(world: PollingWorld) -> None:
    with pytest.raises(CommandError, match="no bucket has objects") as raised:
        poll_buckets("--once", "--airline", "NOBODY")
    assert raised.value.returncode == 2


def test_the_exit_code_reports_an_unreachable_store(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.progress("N1/2026-12/a", 50)
    poll_buckets("--once")
    monkeypatch.setattr(world.media, "list", away)
    with pytest.raises(CommandError, match="TIMEOUT") as raised:
        poll_buckets("--once")
    assert raised.value.returncode == 1
    for bucket in (world.media, world.status):
        monkeypatch.setattr(bucket, "list", away)
        monkeypatch.setattr(bucket, "list_prefixes", away)
    with pytest.raises(CommandError) as raised:
        poll_buckets("--once", "--json")
    assert raised.value.returncode == 75
    with pytest.raises(CommandError) as raised:
        poll_buckets("--once", "--airline", "NEW")
    assert raised.value.returncode == 75


def test_the_exit_code_reports_an_unreachable_database(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.management.commands.poll_buckets.discover", _no_database)
    with pytest.raises(CommandError, match="database") as raised:
        poll_buckets("--once")
    assert raised.value.returncode == 75


def test_once_polls_even_an_airline_that_a_worker_polls(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 50)
    with lease("poll:ACME"):
        poll_buckets("--once")
    assert transfer("a").bytes_done == 50


@pytest.mark.parametrize("interval", ["soon", "0", "-1", "2 days"])
def test_a_wrong_interval_is_refused(world: PollingWorld, interval: str) -> None:
    with pytest.raises(CommandError):
        poll_buckets("--once", f"--interval={interval}")


def test_endless_polling_survives_errors_and_ends_on_sigterm(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away in the first poll, an unknown exception occurs in the second, the third succeeds."""
    world.progress("N1/2026-12/a", 50)
    polls = iter([_no_database, _unheard_of])
    everything = Polling.all

    def all_of_it(self: Polling, *, include_leased: bool) -> Any:
        if (fails := next(polls, None)) is not None:
            fails()
        result = everything(self, include_leased=include_leased)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Polling, "all", all_of_it)
    monkeypatch.setattr("fleet.management.commands.poll_buckets.close_old_connections", lambda: None)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        lines = poll_buckets("--interval", "0.01s", "--json").splitlines()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert [json.loads(line)["transfers_changed"] for line in lines] == [0, 0, 1]
    assert transfer("a").bytes_done == 50


def test_the_command_stops_between_two_transactions(world: PollingWorld) -> None:
    poll = Polling(world.media, world.status, None, 1.0)
    world.progress("N1/2026-12/a", 50)
    poll.stop = threading.Event()
    poll.stop.set()
    with pytest.raises(PollingStopped):
        poll.all(include_leased=True)
    assert not Tail.objects.exists()


def _no_database(*_: object, **__: object) -> Any:
    raise OperationalError("the database is away")


def _unheard_of(*_: object, **__: object) -> Any:
    raise ZeroDivisionError


def test_the_command_does_not_delay_a_pacemaker_on_the_same_database(
    world: PollingWorld, settings: LazySettings
) -> None:
    world.progress("N1/2026-12/a", 50)
    Polling(world.media, world.status, None, interval=3600.0).all(include_leased=True)
    job = Job.objects.get(name="poll:ACME")
    assert job.started_at is not None
    assert (job.due_at - job.started_at).total_seconds() < 2 * settings.POLL_INTERVAL


def test_missing_tables_are_reported_with_the_command_to_create_them(world: PollingWorld) -> None:
    """SQLite and PostgreSQL raise different errors for missing tables."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ifeportal_airline RENAME TO another")
    with pytest.raises(CommandError, match=r"manage\.py migrate") as refused:
        poll_buckets("--once")
    assert refused.value.returncode == ExitCode.UNREACHABLE


def test_the_usage_counts_requests_per_airline_and_of_discovery(world: PollingWorld) -> None:
    usage.flush(world.clock, at_once=True)  # counts of earlier tests in this process
    Usage.objects.all().delete()
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    report = json.loads(poll_buckets("--once", "--json"))
    books = {row.airline and row.airline.name: row for row in Usage.objects.select_related("airline")}
    assert books.keys() == {None, "ACME"}
    assert sum(row.list_requests for row in books.values()) == report["list_requests"]
    assert books["ACME"].get_requests == report["get_requests"] > 0
    poll_buckets("--once", "--airline", "ACME")
    assert Usage.objects.get(airline__name="ACME").list_requests == 2 * books["ACME"].list_requests
