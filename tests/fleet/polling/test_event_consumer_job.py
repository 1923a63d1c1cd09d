"""Consuming events is a separate job; listings are reduced to a fallback only while it works."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from fleet import jobs, usage
from ifeportal.conf.environment import ConfigError, read_config
from ifeportal.jobs.runner import JobFailed
from ifeportal.models import Job
from loader.errors import Code, WorldError
from loader.s3.sqs import Message
from tests.support.event_queue import MemoryQueue, PushedWorld
from tests.support.polling_world import transfer
from tests.support.portal_forks import run

ROOT = Path(__file__).resolve().parents[3]
URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/status-events"


@pytest.fixture
def portal(db: None, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> PushedWorld:
    """A world whose jobs the test calls; its airline was polled, and one event has arrived."""
    settings.STATUS_EVENTS_QUEUE_URL = URL
    world = PushedWorld()
    monkeypatch.setattr(jobs, "_buckets", lambda: (world.media, world.status))
    monkeypatch.setattr(jobs, "_queue", lambda: world.queue)
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 1)
    jobs.discover()
    jobs.poll("ACME")
    jobs.take_events()
    return world


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record for each poll whether events were relied on."""
    relied: list[bool] = []

    def pause(quiet: float, **terms: Any) -> float:
        relied.append(terms["pushed"])
        return 2.0

    monkeypatch.setattr("fleet.jobs.interval.next_interval", pause)
    return relied


def due(name: str) -> Job:
    """Return the job, made due now."""
    Job.objects.filter(name=name).update(due_at="2026-01-01T00:00:00Z")
    return Job.objects.get(name=name)


def test_the_job_applies_events_and_records_when_some_came(portal: PushedWorld) -> None:
    before = due("take_events")
    portal.later()
    portal.progress("N1/2026-12/a", 50)
    jobs.take_events()
    after = Job.objects.get(name="take_events")
    assert transfer("a").bytes_done == 50
    assert before.found_at is not None
    assert after.found_at is not None
    assert after.found_at > before.found_at
    assert (after.failures, after.holder) == (0, "")
    due("take_events")
    jobs.take_events()
    assert Job.objects.get(name="take_events").found_at == after.found_at, "nothing came"


def test_its_requests_are_booked_to_the_airline(portal: PushedWorld) -> None:
    usage.flush(portal.clock, at_once=True)
    before = usage.by_airline()["ACME"]["get_requests"]
    portal.progress("N1/2026-12/a", 50)
    due("take_events")
    jobs.take_events()
    usage.flush(portal.clock, at_once=True)
    assert usage.by_airline()["ACME"]["get_requests"] == before + 1


def test_while_events_come_listings_are_the_safety_net(portal: PushedWorld, pushed: list[bool]) -> None:
    due("poll:ACME")
    jobs.poll("ACME")
    assert pushed == [True]


def test_without_a_queue_events_are_not_relied_on(
    portal: PushedWorld, pushed: list[bool], settings: LazySettings
) -> None:
    settings.STATUS_EVENTS_QUEUE_URL = ""
    due("poll:ACME")
    jobs.poll("ACME")
    assert pushed == [False]


class Away(MemoryQueue):
    """An unreachable queue."""

    def receive(self, limit: int, wait: int = 0) -> list[Message]:
        raise WorldError(Code.NETWORK, "receiving events failed (EndpointConnectionError)")


def test_while_the_queue_is_away_the_job_fails_in_a_sentence_and_polls_keep_their_pace(
    portal: PushedWorld, pushed: list[bool]
) -> None:
    portal.queue = Away()
    portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"50")
    due("take_events")
    with pytest.raises(JobFailed, match="event queue: NETWORK"):
        jobs.take_events()
    row = Job.objects.get(name="take_events")
    assert (row.failures, row.error) == (
        1,
        "event queue: NETWORK: receiving events failed (EndpointConnectionError)",
    )
    due("poll:ACME")
    jobs.poll("ACME")
    assert pushed == [False]
    assert transfer("a").bytes_done == 50


def test_events_that_do_not_match_listings_are_not_relied_on(portal: PushedWorld, pushed: list[bool]) -> None:
    Job.objects.filter(name="take_events").update(found_at="2026-01-01T00:00:00Z")
    portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"50")
    due("poll:ACME")
    jobs.poll("ACME")
    assert pushed == [False]


def settings_with(**environment: str) -> dict[str, Any]:
    """Return the settings that an environment produces."""
    code = "from ifeportal import settings as s; import json; print(json.dumps([s.JOBS, s.Q_CLUSTER]))"
    base = {name: value for name, value in os.environ.items() if name != "STATUS_EVENTS_QUEUE_URL"}
    done = run([sys.executable, "-c", code], env=base | environment)
    assert done.returncode == 0, done.stderr
    names, cluster = json.loads(done.stdout)
    return {"jobs": set(names), "workers": cluster["workers"], "ahead": cluster["queue_limit"]}


def test_the_job_and_a_worker_for_it_are_there_only_with_the_setting() -> None:
    without, given = settings_with(), settings_with(STATUS_EVENTS_QUEUE_URL=URL)
    assert given["jobs"] - without["jobs"] == {"take_events"}
    assert given["workers"] == given["ahead"] == without["workers"] + 1


@pytest.mark.parametrize("value", ["status-events", "arn:aws:sqs:eu-central-1:123456789012:status-events", "sqs://x/y"])
def test_an_invalid_queue_address_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="STATUS_EVENTS_QUEUE_URL must be a URL that starts with http"):
        read_config({"STATUS_EVENTS_QUEUE_URL": value})
