"""A campaign at an earlier time, from samples and events, with unknown values marked as unknown."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign
from fleet.history.point_in_time import CampaignSnapshot, snapshot_at, transfer_state_at
from fleet.history.retention import thin_samples
from fleet.models import Event, Load, ProgressSample
from tests.support.polling_world import PollingWorld, load

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize(
    ("last_state", "moments", "begun", "state"),
    [
        (None, "", False, ""),
        (None, "", True, "pending"),
        (None, "loading", False, "loading"),
        (None, "complete", False, "complete"),
        ("failed", "loading", True, "failed"),
        ("failed", "complete", True, "complete"),
        ("restarted", "", True, "restarted"),
    ],
)
def test_an_item_has_its_last_event_or_the_state_its_moments_imply(
    last_state: str | None, moments: str, begun: bool, state: str
) -> None:
    assert transfer_state_at(last_state, moments, load_started=begun) == state


def campaign_at(world: PollingWorld, at: datetime) -> CampaignSnapshot:
    with CaptureQueriesContext(connection) as queries:
        found = snapshot_at(Campaign.objects.get(), at, world.clock)
    assert len(queries) - 1 <= 3, "besides the campaign's own"
    return found


def rows_of(found: CampaignSnapshot) -> list[tuple[str, str, int | None, int, int]]:
    return [(row.tail, row.state, row.bytes_done, row.items_done, row.items_failed) for row in found.loads]


@pytest.fixture
def story(world: PollingWorld, db: None) -> tuple[PollingWorld, list[datetime]]:
    """N1 announces two items, loads, fails and completes; N2 starts after the failure. Return the time of each step."""
    world.manifest(items={"a": 100, "b": 100})
    moments = [world.clock - timedelta(hours=1)]

    def step() -> None:
        world.poll()
        moments.append(world.clock + timedelta(seconds=1))
        world.later(60)

    for item in "ab":
        world.progress(f"N1/2026-12/{item}", 0)
    step()
    world.progress("N1/2026-12/a", 40)
    step()
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 20)
    world.error("N1/2026-12/b", "IO_ERROR: disk")
    world.progress("N2/2026-12/a", 10)
    step()
    world.remove("N1/2026-12/b.tgz.error")
    world.progress("N1/2026-12/b", 100)
    step()
    return world, moments


@pytest.mark.django_db
def test_each_moment_is_shown_as_it_was(story: tuple[PollingWorld, list[datetime]]) -> None:
    world, moments = story
    found = [campaign_at(world, at) for at in moments]
    assert rows_of(found[0]) == []
    assert found[0].not_started == 2
    assert rows_of(found[1]) == [("N1", "pending", 0, 0, 0)]
    assert rows_of(found[2]) == [("N1", "loading", 40, 0, 0)]
    assert rows_of(found[3]) == [("N1", "failed", 120, 1, 1), ("N2", "loading", 10, 0, 0)]
    assert rows_of(found[4])[0] == ("N1", "complete", 200, 2, 0)
    failed = found[3].loads[0]
    assert (failed.error_code, failed.error, failed.percent, failed.items_total) == ("IO_ERROR", "b: disk", 60, 2)
    pk = load().pk
    assert [each.transfer_state(pk, "a") for each in found] == ["", "pending", "loading", "complete", "complete"]
    assert [each.transfer_state(pk, "b") for each in found] == ["", "pending", "pending", "failed", "complete"]
    assert found[3].transfer_state(pk, "none") == ""
    assert found[3].counts == {"failed": 1, "loading": 1}


@pytest.mark.django_db
def test_unknown_parts_of_a_snapshot_are_reported(story: tuple[PollingWorld, list[datetime]]) -> None:
    world, moments = story
    assert campaign_at(world, moments[3]).notes == []
    assert "records start on 2026-12-01 12:00:00 UTC" in campaign_at(world, moments[0]).notes[0]
    Campaign.objects.update(manifest_as_of=world.clock)
    assert campaign_at(world, moments[3]).notes == ["The manifest has changed since then; items and sizes are today's."]
    Campaign.objects.update(manifest_as_of=None)
    Event.objects.filter(load__tail__name="N2").delete()
    assert "1 load has no records at this time" in campaign_at(world, moments[3]).notes[0]
    Event.objects.all().delete()
    assert "this campaign has no records" in campaign_at(world, moments[3]).notes[0]
    assert rows_of(campaign_at(world, moments[4]))[0][1] == "complete", "its own moments say so"


@pytest.mark.django_db
def test_with_thinned_samples_the_age_of_the_bytes_is_shown(story: tuple[PollingWorld, list[datetime]]) -> None:
    world, moments = story
    world.later(3 * 86_400)
    thin_samples(world.clock)
    found = campaign_at(world, moments[3])
    assert "one sample per hour" in found.notes[0]
    row = found.loads[0]
    assert (row.state, row.bytes_done) == ("failed", 120), "the event has the number of bytes on disk"
    assert row.bytes_at is not None
    assert row.bytes_at <= moments[3]
    world.later(400 * 86_400)
    assert "more than a year ago" in campaign_at(world, moments[3]).notes[0]


@pytest.mark.django_db
def test_a_moment_to_come_is_now_and_the_cost_does_not_grow_with_the_fleet(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100})
    for number in range(12):
        world.progress(f"N{number}/2026-12/a", 10 + number)
    world.poll()
    found = campaign_at(world, world.clock + timedelta(days=1))
    assert found.at == world.clock
    assert sum(row.bytes_done or 0 for row in found.loads) == sum(range(10, 22))
    assert Load.objects.count() == ProgressSample.objects.count() == len(found.loads) == 12
