"""Stalled: loading without a new byte for ten minutes of the portal's clock."""

from __future__ import annotations

import pytest

from fleet.ingest.health import update_health
from fleet.models import Transfer
from fleet.polling.poller import PollOptions, poll_airline
from ifeportal.live.models import Change
from ifeportal.models import Airline
from tests.support.polling_world import PollingWorld, load, rows, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_ten_minutes_without_a_byte_is_stalled_and_a_byte_ends_it(world: PollingWorld) -> None:
    world.manifest(items={"a": 1000, "b": 1000})
    world.progress("N1/2026-12/a", 100)
    world.poll()
    world.later(599)
    world.poll()
    assert not transfer("a").stalled
    world.later(1)
    world.poll()
    assert (transfer("a").stalled, load().stalled, transfer("a").rate_bps) == (True, True, 0)
    assert (transfer("a").status, transfer("b").stalled) == ("loading", False)
    before = rows()
    world.later(1)
    world.poll()
    assert rows() == before
    world.progress("N1/2026-12/a", 101)
    world.poll()
    assert (transfer("a").stalled, load().stalled) == (False, False)


def test_a_rate_is_forgotten_once_nothing_has_moved_for_three_minutes(world: PollingWorld) -> None:
    """No page may forecast an end from the rate before the aircraft lost its link."""
    world.manifest(items={"a": 1000})
    for done in (100, 200):
        world.progress("N1/2026-12/a", done)
        world.poll()
        world.later(10)
    assert transfer("a").rate_bps == load().rate_bps == 10
    rev = Change.objects.order_by("-rev").values_list("rev", flat=True)[0]
    world.later(169)
    world.poll()
    assert transfer("a").eta_seconds == 80
    world.later(1)
    world.poll()
    assert (transfer("a").rate_bps, load().rate_bps, transfer("a").eta_seconds) == (None, None, None)
    assert not transfer("a").stalled
    assert {change.topic for change in Change.objects.filter(rev__gt=rev)} >= {"transfer", "load", "tail"}


def test_stalling_reaches_the_feed_with_the_sums_above_it(world: PollingWorld) -> None:
    world.manifest(items={"a": 1000})
    world.progress("N1/2026-12/a", 100)
    world.poll()
    rev = Change.objects.order_by("-rev").values_list("rev", flat=True)[0]
    world.later(600)
    world.poll()
    changes = {change.topic: change.state for change in Change.objects.filter(rev__gt=rev)}
    assert changes.keys() == {"transfer", "load", "tail", "campaign", "airline"}
    assert changes["transfer"]["stalled"] is changes["load"]["stalled"] is True
    assert changes["tail"]["stalled"] == changes["campaign"]["stalled"] == changes["airline"]["stalled"] == 1


def test_a_load_that_is_old_at_its_first_poll_is_not_stalled_at_once(world: PollingWorld) -> None:
    """The portal judges by its own observations, not by an object's age on another clock."""
    world.progress("N1/2026-12/a", 100)
    world.later(86_400)
    world.poll()
    assert not transfer("a").stalled


def test_a_failed_or_finished_item_is_never_stalled(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 10)
    world.error("N1/2026-12/b", "x")
    world.poll()
    world.later(3600)
    world.poll()
    assert not transfer("a").stalled
    assert not transfer("b").stalled


def test_progress_during_an_outage_of_polling_is_not_stalled_at_once(world: PollingWorld) -> None:
    """After an outage of the portal the changes are unknown: a stalled load is marked ten minutes later."""
    world.manifest(items={"a": 1000})
    for done in (100, 200):
        world.progress("N1/2026-12/a", done)
        world.poll()
        world.later(10)
    airline = Airline.objects.get()
    world.later(86_400)
    before = rows()
    assert update_health(airline, world.clock, None) == set(), "the first success after a gap"
    back = world.clock
    world.later(179)
    assert update_health(airline, world.clock, back) == set()
    assert {name: rows()[name] for name in ("Transfer", "Tail")} == {
        name: before[name] for name in ("Transfer", "Tail")
    }
    assert (load().rate_bps, load().effective_bps) == (10, 0), "pauses are part of the effective rate"
    world.later(1)
    assert update_health(airline, world.clock, back) == set(), "no sum of loads has to do with a rate"
    assert (transfer("a").rate_bps, load().rate_bps, transfer("a").stalled) == (None, None, False)
    world.later(419)
    assert update_health(airline, world.clock, back) == set()
    world.later(1)
    assert update_health(airline, world.clock, back) == {load().campaign_id}
    assert (transfer("a").stalled, load().stalled) == (True, True)


def test_a_load_that_progresses_after_an_outage_is_never_stalled(world: PollingWorld) -> None:
    world.manifest(items={"a": 1000})
    world.progress("N1/2026-12/a", 100)
    world.poll()
    world.later(86_400)
    back = world.clock
    for done in range(200, 900, 100):
        world.later(120)
        world.progress("N1/2026-12/a", done)
        world.poll()
        update_health(Airline.objects.get(), world.clock, back)
        assert not transfer("a").stalled


def test_a_load_without_a_complete_check_is_not_stalled(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.polling.batches.TAILS_A_BATCH", 1)
    for name in ("N1", "N2", "N3"):
        world.progress(f"{name}/2026-12/a", 100)
    world.poll()
    world.later(600)
    for name in ("N1", "N2"):
        world.progress(f"{name}/2026-12/a", 101)
    acme = Airline.objects.get()
    result = poll_airline(acme, world.media, world.status, world.clock, PollOptions(seconds=0.0))
    assert (result.unfinished, [row.load.tail.name for row in Transfer.objects.filter(stalled=True)]) == (1, [])
    world.poll()
    assert [row.load.tail.name for row in Transfer.objects.filter(stalled=True)] == ["N3"]
