"""A poll between the fetch and the write of an event's object is not overwritten."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from fleet.polling.fetcher import Fetcher, LookupResult
from tests.support.event_queue import PushedWorld
from tests.support.polling_world import transfer

pytestmark = pytest.mark.django_db
KEY = "N1/2026-12/a"


@pytest.fixture
def pushed(db: None) -> PushedWorld:
    world = PushedWorld()
    world.manifest(items={"a": 100})
    world.progress(KEY, 10)
    world.poll()
    world.take()
    return world


def overtaken(world: PushedWorld, monkeypatch: pytest.MonkeyPatch, value: int) -> list[str]:
    """Right after the fetch, write the object again and poll completely."""
    look_up = Fetcher.head
    slow: list[str] = []

    def fetched(self: Fetcher, keys: Collection[str]) -> LookupResult:
        named = look_up(self, keys)
        if not slow:
            slow.extend(keys)
            world.later()
            world.status.put(f"ACME/{KEY}.tgz.progress", b"%d" % value)
            world.poll()
        return named

    monkeypatch.setattr(Fetcher, "head", fetched)
    return slow


def test_a_fetch_before_a_newer_poll_does_not_revert_its_result(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed.later()
    pushed.progress(KEY, 50)
    with monkeypatch.context() as patched:
        slow = overtaken(pushed, patched, 90)
        pushed.take()
    assert slow
    assert transfer("a").bytes_done == 90


def test_an_object_that_reappeared_before_the_poll_is_not_marked_deleted(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed.remove(f"{KEY}.tgz.progress")
    with monkeypatch.context() as patched:
        slow = overtaken(pushed, patched, 90)
        pushed.take()
    assert slow
    assert (transfer("a").status, transfer("a").bytes_done) == ("loading", 90)
