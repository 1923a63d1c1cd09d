"""Requests to a failing store: readable objects are used, the rest is left for the next poll."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fleet.models import Tail, Transfer
from fleet.polling.discovery import discover
from fleet.polling.fetcher import CONSECUTIVE_FAILURES, FETCHERS
from fleet.polling.poller import PollOptions, poll_airline
from fleet.reconcile import partitions
from ifeportal.models import Airline
from loader.errors import Code, WorldError
from tests.support.polling_world import PollingWorld
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.django_db


def test_after_many_failures_in_a_row_it_is_not_asked_any_more(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        world.progress(f"N1/2026-12/item-{number:03}", 5)
    get = world.status.get
    asked = []

    def failing(key: str, limit: int, **options: Any) -> Any:
        asked.append(key)
        raise WorldError(Code.TIMEOUT, "no answer")

    monkeypatch.setattr(world.status, "get", failing)
    result = world.poll()
    assert len(asked) <= CONSECUTIVE_FAILURES + FETCHERS
    assert result.failures == ("status bucket: TIMEOUT: no answer",)
    assert not Transfer.objects.exists()
    monkeypatch.setattr(world.status, "get", get)
    assert world.poll().transfers_changed == 200


def test_a_failed_request_delays_one_object_by_one_poll(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        world.progress(f"N1/2026-12/item-{number:03}", 5)
    get = world.status.get

    def flaky(key: str, limit: int, **options: Any) -> Any:
        if "item-007" in key:
            raise WorldError(Code.THROTTLED, "slow down")
        return get(key, limit, **options)

    monkeypatch.setattr(world.status, "get", flaky)
    assert world.poll().transfers_changed == 19
    monkeypatch.setattr(world.status, "get", get)
    assert (world.poll().transfers_changed, world.poll().transfers_changed) == (1, 0)


def test_an_object_that_goes_between_listing_and_request_is_the_next_polls_matter(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.progress("N1/2026-12/a", 5)
    world.progress("N1/2026-12/b", 5)
    get = world.status.get

    def missing_object(key: str, limit: int, **options: Any) -> Any:
        if "/a." in key:
            world.status.delete(key)
        return get(key, limit, **options)

    monkeypatch.setattr(world.status, "get", missing_object)
    result = world.poll()
    assert (result.failures, result.anomalies) == ((), 0)
    assert [row.content for row in Transfer.objects.all()] == ["b"]


@pytest.mark.parametrize(
    ("bucket", "request_kind"),
    [("status", "list"), ("status", "get"), ("status", "list_prefixes"), ("media", "list"), ("media", "get")],
)
def test_while_a_store_takes_its_time_the_poll_shows_signs_of_life(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch, bucket: str, request_kind: str
) -> None:
    """A lease is shorter than the timeout of a request; without heartbeats it would expire and pass from worker to
    worker.
    """
    world.manifest()
    world.progress("N1/2026-12/movie-001", 5)
    slow, call = getattr(world, bucket), getattr(getattr(world, bucket), request_kind)
    begun, sign = threading.Event(), threading.Event()

    def limping(*args: Any, **options: Any) -> Any:
        begun.set()
        assert sign.wait(60)
        return call(*args, **options)

    def on_heartbeat() -> None:
        if begun.is_set():
            sign.set()

    monkeypatch.setattr(slow, request_kind, limping)
    monkeypatch.setattr(
        partitions, "UNPARTITIONED_LIMIT", 0 if request_kind == "list_prefixes" else partitions.UNPARTITIONED_LIMIT
    )
    acme = Airline.objects.create(name="ACME")
    Tail.objects.create(airline=acme, name="N1")
    result = poll_airline(acme, world.media, world.status, world.clock, PollOptions(lease=ScriptedLease(on_heartbeat)))
    assert (result.failures, Transfer.objects.filter(bytes_done=5).count()) == ((), 1)
    assert begun.is_set()


@pytest.mark.parametrize("bucket", ["status", "media"])
def test_discovery_in_a_slow_store_sends_heartbeats(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    world.manifest()
    slow = getattr(world, bucket)
    prefixes, sign = slow.list_prefixes, threading.Event()

    def limping(*args: Any) -> Any:
        assert sign.wait(60)
        return prefixes(*args)

    monkeypatch.setattr(slow, "list_prefixes", limping)
    assert discover(world.media, world.status, world.clock, lease=ScriptedLease(sign.set)).failures == ()
    assert Airline.objects.get().name == "ACME"
