"""Without a lease, two concurrent pollers still end in the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleet.models import Load, Tail, Transfer
from fleet.reconcile.diff import diff_listing
from fleet.reconcile.pending import TailChanges
from tests.support.polling_world import PollingWorld, load, rows, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def overtaken(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a complete poll between the listing and the writing of the next one."""
    ahead = [True]

    def slow(*args: Any) -> Iterator[dict[str, TailChanges]]:
        yield from diff_listing(*args)
        if ahead and ahead.pop():
            world.later()
            world.progress("N1/2026-12/a", 90)
            world.progress("N1/2026-12/b", 90)
            world.remove("N1/2026-12/b.tgz.error")
            world.poll()

    monkeypatch.setattr("fleet.polling.writer.diff_listing", slow)


def test_a_slow_poller_does_not_take_back_what_a_quick_one_saw(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.manifest(items={"a": 100, "b": 100, "c": 100})
    world.progress("N1/2026-12/a", 50)
    world.error("N1/2026-12/b", "x")
    overtaken(world, monkeypatch)
    world.poll()
    assert (transfer("a").bytes_done, transfer("b").bytes_done, load().bytes_done) == (90, 90, 180)
    world.poll()
    assert (transfer("b").status, load().status) == ("loading", "loading")
    assert (Tail.objects.count(), Load.objects.count(), Transfer.objects.count()) == (1, 1, 3)
    before = rows()
    assert world.poll().anomalies == 0
    assert rows() == before


def test_an_object_that_reappears_during_a_slow_poll_is_not_marked_deleted(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.progress("N1/2026-12/b", 50)
    world.poll()
    world.remove("N1/2026-12/a.tgz.progress")
    overtaken(world, monkeypatch)
    world.poll()
    assert (transfer("a").status, transfer("a").bytes_done) == ("loading", 90)


def test_bytes_that_were_too_old_are_applied_when_rewritten(world: PollingWorld) -> None:
    world.later(60)
    world.progress("N1/2026-12/a", 40)
    world.poll()
    world.later(-30)
    world.progress("N1/2026-12/a", 70)
    assert world.poll().anomalies == 1
    world.later(60)
    world.progress("N1/2026-12/a", 70)
    assert world.poll().anomalies == 0
    assert transfer("a").bytes_done == 70
