"""An open page makes the jobs of its airline urgent and due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifeportal.live.connections import in_thread
from ifeportal.live.sockets import consumer
from ifeportal.live.sockets.viewers import REPORT_INTERVAL, ViewerTracker
from ifeportal.models import Job
from tests.conftest import Cast
from tests.support.live_sockets import open_socket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> ViewerTracker:
    """A tracker as in a process that has reported nothing yet."""
    watching = ViewerTracker()
    monkeypatch.setattr(consumer, "viewer_tracker", watching)
    return watching


def rest(*airlines: str) -> None:
    """Jobs that ran some time ago and are due in a minute."""
    now = timezone.now()
    for airline in airlines:
        Job.objects.create(
            name=f"poll:{airline}", started_at=now - timedelta(minutes=1), due_at=now + timedelta(minutes=1)
        )


def watched() -> set[str]:
    now = timezone.now()
    return set(Job.objects.filter(watched_until__gt=now, due_at__lte=now).values_list("name", flat=True))


def until(name: str) -> datetime | None:
    return Job.objects.values_list("watched_until", flat=True).get(name=name)


async def test_a_page_raises_the_airline_it_names_and_no_other(cast: Cast) -> None:
    await in_thread(rest, "ACME", "BETA")
    async with open_socket(cast.olga) as socket:
        await socket.watch(airline="ACME", tail="N1")
        await socket.say(watch={"airline": "NOBODY"})
        assert "error" in await socket.read()
    assert await in_thread(watched) == {"poll:ACME"}


async def test_a_page_of_all_airlines_raises_none(cast: Cast) -> None:
    await in_thread(rest, "ACME", "BETA")
    async with open_socket(cast.olga) as socket:
        await socket.watch(rev=0)
        await socket.say(watch={}, rev=0)
        await socket.read()
    assert await in_thread(watched) == set()


async def test_users_without_access_do_not_raise_the_priority_of_an_airline(cast: Cast) -> None:
    await in_thread(rest, "BETA")
    async with open_socket(cast.alice) as socket:
        assert "error" in await socket.watch(airline="BETA")
    assert await in_thread(watched) == set()


async def test_an_open_page_renews_its_viewer_record(
    cast: Cast, fresh: ViewerTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "REAUTHORISE", 0.05)
    monkeypatch.setattr(consumer, "PING", 0.2)
    monkeypatch.setattr(fresh, "_should_report", lambda airline: True)
    await in_thread(rest, "ACME")
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME")
        while (first := await in_thread(until, "poll:ACME")) is None:
            pass
        while (await in_thread(until, "poll:ACME")) == first:
            await socket.read()


async def test_a_database_that_fails_at_it_costs_the_page_nothing(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(airlines: list[str]) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("ifeportal.live.sockets.viewers.mark_viewed", away)
    async with open_socket(cast.alice) as socket:
        assert (await socket.watch(airline="ACME", rev=0))["changes"] == []
        await socket.say(watch={"airline": "ACME"}, rev=0)
        assert (await socket.read())["changes"] == []
    assert caplog.text.count("connection refused") == 1


def writes(queries: CaptureQueriesContext) -> int:
    return sum(query["sql"].startswith("UPDATE") for query in queries.captured_queries)


def test_a_thousand_pages_of_an_airline_write_once_in_a_while() -> None:
    rest("ACME", "BETA")
    now = 0.0
    watching = ViewerTracker(lambda: now)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(1000):
            watching.viewed("ACME")
            watching.viewed("BETA")
        assert writes(queries) == 2
        now = REPORT_INTERVAL - 0.1
        watching.viewed("ACME")
        assert writes(queries) == 2
        now = REPORT_INTERVAL
        watching.viewed("ACME")
        assert writes(queries) == 3
    assert watching._reported_at.keys() == {"ACME"}, "airlines without viewers are forgotten"
