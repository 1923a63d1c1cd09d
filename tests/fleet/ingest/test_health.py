"""Silent, stalled, waiting, restarted, contradictory, at risk: each by its rule, with the portal's own clock."""

from __future__ import annotations

import json
from datetime import date

import pytest

from campaigns.models import Campaign
from fleet.choices import ServiceStatus
from fleet.ingest.health import update_health
from fleet.models import Event, Load, Tail
from fleet.polling.poller import PollOptions, poll_airline
from fleet.service_status import set_service_status
from ifeportal.live.models import Change
from ifeportal.models import Airline
from tests.support.polling_world import PollingWorld, load, rows, tail, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
HOUR, DAY, GB = 3_600, 86_400, 1_000_000_000


def beat(world: PollingWorld, state: str = "loading", name: str = "N1", **more: object) -> None:
    """Write the loader's heartbeat."""
    published = {"schema": 1, "loader": "0.1.0", "at": world.clock.isoformat(), "state": state, **more}
    world.write(f"{name}/loader.json", json.dumps(published).encode())


def begun(world: PollingWorld, *, beats: bool = True) -> None:
    """An aircraft that has loaded 100 of 1,000 bytes of an item, and nothing of another."""
    world.manifest(items={"a": 1000, "b": 1000})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 0)
    if beats:
        beat(world)
    world.poll()


def newest_states(since: int) -> dict[str, dict[str, object]]:
    return {change.topic: change.state for change in Change.objects.filter(rev__gt=since)}


def rev() -> int:
    return Change.objects.order_by("-rev").values_list("rev", flat=True)[0]


class TestStalled:
    def test_a_live_loader_without_bytes_for_ten_minutes_is_stalled(self, world: PollingWorld) -> None:
        begun(world)
        world.later(599)
        beat(world)
        world.poll()
        assert load().state == "loading"
        world.later(1)
        beat(world)
        world.poll()
        assert (load().state, transfer("a").state, transfer("b").state) == ("stalled", "stalled", "pending")
        world.progress("N1/2026-12/a", 101)
        world.poll()
        assert (load().state, transfer("a").state) == ("loading", "loading")

    def test_an_aircraft_that_is_switched_off_has_not_stalled(self, world: PollingWorld) -> None:
        begun(world)
        world.later(300)
        beat(world)
        world.poll()
        world.later(20 * HOUR)
        world.poll()
        assert (load().state, transfer("a").state) == ("loading", "loading")

    def test_an_aircraft_that_was_switched_on_just_now_has_not_stalled_yet(self, world: PollingWorld) -> None:
        begun(world)
        world.later(9 * HOUR)
        for _ in range(2):
            beat(world)
            world.poll()
            assert (load().state, transfer("a").state) == ("loading", "loading")
            world.later(300)
        beat(world)
        world.poll()
        assert (load().state, transfer("a").state) == ("stalled", "stalled")

    def test_a_stalled_load_of_a_switched_off_loader_remains_stalled(self, world: PollingWorld) -> None:
        begun(world)
        world.later(700)
        beat(world)
        world.poll()
        world.later(20 * HOUR)
        before = rows()
        world.poll()
        assert load().state == "stalled"
        assert rows() == before

    def test_a_loader_without_heartbeats_is_judged_by_its_bytes_alone(self, world: PollingWorld) -> None:
        begun(world, beats=False)
        world.later(600)
        world.poll()
        assert load().state == "stalled"

    def test_the_threshold_is_the_airlines_and_may_be_raised_later(self, world: PollingWorld) -> None:
        begun(world, beats=False)
        Airline.objects.update(stalled_after_minutes=1)
        world.later(60)
        world.poll()
        assert (load().state, transfer("a").state) == ("stalled", "stalled")
        Airline.objects.update(stalled_after_minutes=5)
        world.poll()
        assert (load().state, transfer("a").state, transfer("a").rate_bps) == ("loading", "loading", 0)


class TestSilent:
    def test_a_tail_without_contact_for_a_day_is_silent_until_any_contact(self, world: PollingWorld) -> None:
        begun(world)
        world.later(DAY - 1)
        world.poll()
        assert (tail().silent, load().state) == (False, "loading")
        before = rev()
        world.later(1)
        world.poll()
        assert (tail().silent, load().silent, load().state) == (True, True, "silent")
        assert transfer("a").state == "silent", "its load says so"
        published = newest_states(before)
        assert published.keys() == {"transfer", "load", "tail", "campaign", "airline"}
        assert published["transfer"]["state"] == published["load"]["state"] == "silent"
        assert (published["tail"]["is_silent"], published["airline"]["silent"], published["airline"]["loading"]) == (
            True,
            1,
            0,
        )
        beat(world)
        world.poll()
        assert (tail().silent, load().state, transfer("a").state) == (False, "loading", "loading")

    def test_an_old_object_does_not_update_the_last_contact(self, world: PollingWorld) -> None:
        world.progress("N1/2026-12/a", 100)
        world.later(10 * DAY)
        world.poll()
        assert tail().seen_at == world.clock
        assert not tail().silent

    def test_time_without_polls_does_not_count_as_silence(self, world: PollingWorld) -> None:
        begun(world)
        airline = Airline.objects.get()
        world.later(5 * DAY)
        back = world.clock
        update_health(airline, world.clock, None)
        update_health(airline, world.clock, back)
        assert not tail().silent
        world.later(DAY)
        update_health(airline, world.clock, back)
        assert tail().silent
        world.later(60)
        update_health(airline, world.clock, world.clock)
        assert (tail().silent, load().state) == (True, "silent"), "known before, and nothing new was seen"

    def test_a_tail_without_loads_may_be_silent_too(self, world: PollingWorld) -> None:
        beat(world)
        world.poll()
        world.later(DAY)
        world.poll()
        assert tail().silent
        before = rows()
        world.later(60)
        world.poll()
        assert rows() == before


class TestWaiting:
    @pytest.mark.parametrize("word", ["waiting", "paused"])
    def test_a_load_whose_loader_reports_waiting_and_no_bytes_is_waiting(self, world: PollingWorld, word: str) -> None:
        begun(world)
        world.later(10)
        beat(world, word, reason="outside its hours, 22:00-05:00")
        world.poll()
        assert (load().state, transfer("a").state) == ("waiting", "waiting")
        for _ in range(6):
            world.later(300)
            beat(world, word, reason="outside its hours, 22:00-05:00")
            world.poll()
        assert (load().state, load().stalled, transfer("a").stalled) == ("waiting", False, False)
        beat(world, "loading")
        world.progress("N1/2026-12/a", 200)
        world.poll()
        assert (load().state, transfer("a").state) == ("loading", "loading")

    def test_bytes_that_come_later_than_the_heartbeat_count(self, world: PollingWorld) -> None:
        begun(world)
        world.later(10)
        beat(world, "waiting")
        world.poll()
        world.later(10)
        world.progress("N1/2026-12/a", 300)
        world.poll()
        assert load().state == "loading"
        world.later(180)
        world.poll()
        assert load().state == "waiting", "three minutes without a byte and without another report"

    def test_a_stalled_load_that_waits_is_no_longer_stalled(self, world: PollingWorld) -> None:
        begun(world)
        world.later(600)
        beat(world)
        world.poll()
        assert transfer("a").state == "stalled"
        beat(world, "paused")
        world.later(1)
        world.poll()
        assert (load().state, transfer("a").state, transfer("a").stalled) == ("waiting", "waiting", False)


class TestRestarted:
    def test_bytes_went_down_until_the_item_is_complete(self, world: PollingWorld) -> None:
        begun(world)
        world.later()
        world.progress("N1/2026-12/a", 40)
        world.poll()
        assert (load().state, load().restarted, transfer("a").state) == ("restarted", True, "restarted")
        world.later()
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        assert (load().state, load().restarted, transfer("a").state) == ("loading", False, "complete")


class TestContradiction:
    def test_more_bytes_than_the_item_has(self, world: PollingWorld) -> None:
        begun(world)
        world.later()
        world.progress("N1/2026-12/a", 1001)
        world.poll()
        assert (load().state, load().contradiction, transfer("a").state) == (
            "contradiction",
            "oversized",
            "contradiction",
        )
        world.later()
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        assert (load().state, load().contradiction) == ("loading", "")

    def test_an_error_left_behind_after_success(self, world: PollingWorld) -> None:
        begun(world)
        world.error("N1/2026-12/a", "TIMEOUT: the store did not answer")
        world.poll()
        assert load().state == "failed"
        world.later()
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        assert (load().contradiction, load().state, transfer("a").contradiction) == (
            "error left",
            "contradiction",
            "error left",
        )
        assert transfer("a").state == "complete"
        world.later()
        world.progress("N1/2026-12/b", 1000)
        world.poll()
        assert (load().state, load().contradiction) == ("complete", "error left")
        world.remove("N1/2026-12/a.tgz.error")
        world.poll()
        assert load().contradiction == ""

    def test_the_manifest_changed_midway(self, world: PollingWorld) -> None:
        begun(world)
        world.later()
        world.manifest(items={"a": 1000, "b": 1000}, title="December")
        world.poll()
        assert load().contradiction == "", "of a new title no aircraft need know"
        world.manifest(items={"a": 1000, "b": 1200})
        world.poll()
        assert (load().state, load().contradiction) == ("contradiction", "manifest changed")
        world.later()
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        assert load().contradiction == "manifest changed"
        world.progress("N1/2026-12/b", 1200)
        world.poll()
        assert (load().state, load().contradiction) == ("complete", "")

    def test_a_manifest_that_comes_late_or_after_the_end_changed_nothing_midway(self, world: PollingWorld) -> None:
        world.progress("N1/2026-12/a", 100)
        world.poll()
        world.manifest(items={"a": 1000})
        world.poll()
        assert load().contradiction == ""
        world.later()
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        world.manifest(items={"a": 1000, "b": 5})
        world.poll()
        assert (load().state, load().contradiction) == ("loading", "")


class TestAtRisk:
    def test_without_a_forecast_from_two_days_before_the_start(self, world: PollingWorld) -> None:
        world.manifest(items={"a": 1000}, exhibition={"starts": "2026-12-05", "ends": "2026-12-31"})
        world.progress("N1/2026-12/a", 0)
        world.poll()
        world.later(1.5 * DAY)
        world.poll()
        assert (load().state, load().at_risk) == ("pending", False)
        before = rev()
        world.later(1)
        world.poll()
        assert (load().state, load().at_risk) == ("pending", True)
        assert newest_states(before)["airline"]["at_risk"] == 1
        world.progress("N1/2026-12/a", 1000)
        world.poll()
        assert (load().state, load().at_risk) == ("complete", False)

    def test_by_the_late_end_of_what_is_observed(self, world: PollingWorld) -> None:
        """A gigabyte per day: the last of twelve will be too late, although it never stops."""
        world.manifest(items={"a": 12 * GB}, exhibition={"starts": "2026-12-11"})
        for hours in range(25):
            world.progress("N1/2026-12/a", hours * GB // 24)
            world.poll()
            world.later(HOUR)
        assert load().effective_bps == pytest.approx(GB / DAY, rel=0.01)
        assert load().at_risk
        Campaign.objects.update(exhibition_starts=date(2026, 12, 14))
        world.poll()
        assert not load().at_risk

    def test_the_flag_is_cleared_by_a_manifest_with_a_later_exhibition(
        self, world: PollingWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.manifest(items={"a": 1000}, exhibition={"starts": "2026-12-02"})
        world.progress("N1/2026-12/a", 10)
        for _ in range(2):
            world.poll()
            world.later(60)
        assert load().at_risk
        monkeypatch.setattr("fleet.polling.poller.update_health", lambda *_: set())  # not due in this poll
        world.manifest(items={"a": 1000}, exhibition={"starts": "2027-02-01"})
        before = rev()
        world.poll()
        assert not load().at_risk
        assert newest_states(before)["load"]["at_risk"] is False

    def test_not_once_the_exhibition_is_over_or_where_no_start_is_known(self, world: PollingWorld) -> None:
        begun(world)
        world.later(60)
        world.poll()
        assert not load().at_risk
        Campaign.objects.update(exhibition_starts=date(2026, 11, 1), exhibition_ends=date(2026, 11, 30))
        world.poll()
        assert not load().at_risk
        Campaign.objects.update(exhibition_ends=date(2026, 12, 1))
        world.poll()
        assert load().at_risk


class TestDuty:
    def test_of_a_stored_tail_nothing_is_judged_and_it_is_in_no_sum(self, world: PollingWorld) -> None:
        begun(world)
        world.later(DAY)
        world.poll()
        assert load().state == "silent"
        before = rev()
        assert set_service_status(Tail.objects.select_related("airline").get(), ServiceStatus.STORED)
        published = newest_states(before)
        assert published.keys() == {"load", "tail", "campaign", "airline"}
        assert (published["tail"]["duty"], published["tail"]["is_silent"], published["load"]["state"]) == (
            "stored",
            False,
            "loading",
        )
        assert (published["airline"]["tails"], published["airline"]["tails_out"], published["airline"]["loads"]) == (
            0,
            1,
            0,
        )
        assert (published["campaign"]["tails"], published["campaign"]["tails_out"]) == (0, 1)
        noted = rows()
        world.later(60)
        world.poll()
        assert rows() == noted
        assert not set_service_status(Tail.objects.select_related("airline").get(), ServiceStatus.STORED)
        assert rows() == noted
        set_service_status(Tail.objects.select_related("airline").get(), ServiceStatus.ACTIVE)
        world.poll()
        assert load().state == "silent"


def test_a_load_that_progresses_at_the_same_time_is_not_stalled(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte arrives between the query and the lock: the load is judged by its new state."""
    begun(world, beats=False)
    world.later(600)
    airline, met = Airline.objects.get(), []

    def lock(airline: Airline, pks: object) -> dict[int, Tail]:
        met.append(pks)
        Load.objects.update(moved_at=world.clock)
        load().transfers.update(moved_at=world.clock)
        return {row.pk: row for row in Tail.objects.all()}

    monkeypatch.setattr("fleet.ingest.health.lock_tails", lock)
    assert update_health(airline, world.clock, world.clock.replace(year=2025)) == set()
    assert met, "there was something to be noted"
    assert (load().stalled, transfer("a").stalled) == (False, False)


def test_turns_are_written_down_with_their_reason(world: PollingWorld) -> None:
    begun(world)
    world.later(600)
    beat(world, "paused", reason="paused by the queue")
    world.poll()
    world.later(DAY)
    world.poll()
    events = list(Event.objects.filter(content="").order_by("pk").values_list("state", "text"))
    assert [state for state, _ in events][-2:] == ["waiting", "silent"]
    assert events[-2][1] == "paused by the queue"


def test_time_dependent_states_are_checked_every_ten_seconds(world: PollingWorld) -> None:
    begun(world, beats=False)
    airline = Airline.objects.get()
    world.later(600)
    looked = 0
    for _ in range(10):
        Load.objects.update(stalled=False)
        before, terms = world.clock, PollOptions(previous_run=world.clock)
        world.later(2)
        poll_airline(airline, world.media, world.status, world.clock, terms)
        looked += load().stalled
        assert load().stalled is (before.second // 10 != world.clock.second // 10)
    assert looked == 2


def test_unreadable_loads_are_not_judged(world: PollingWorld) -> None:
    begun(world, beats=False)
    world.later(600)
    world.progress("N1/2026-12/a", 200)
    result = poll_airline(
        Airline.objects.get(), world.media, world.status, world.clock, PollOptions(uninterrupted_since=None)
    )
    assert not result.failures
    assert load().state == "loading"
