"""An empty database is restored from the archives; objects that are not archives are reported and left alone."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.archive import format as packed
from fleet.archive.format import archive_key
from fleet.archive.restorer import restore
from fleet.models import Anomaly, Load
from fleet.polling.poller import poll_root
from fleet.reconcile import partitions
from fleet.reconcile.limits import Limits
from ifeportal.live.models import Change
from ifeportal.models import Airline
from tests.support.archived_loads import KEY, archive, finished, is_archived, load_facts
from tests.support.polling_world import PollingWorld, load

pytestmark = pytest.mark.both_databases


def without_keys(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the load without row ids and without what a manifest provides."""
    ids = {"id", "load_id", "tail_id", "campaign_id"}
    return {
        "load": {name: value for name, value in snapshot["load"].items() if name not in ids},
        "transfers": [{name: value for name, value in row.items() if name not in ids} for row in snapshot["transfers"]],
        "samples": snapshot["samples"],
    }


def brought_back(world: PollingWorld, limits: Limits | None = None) -> int:
    return restore(Airline.objects.get(name="ACME"), world.status, world.clock, limits=limits)


def test_a_new_database_shows_what_the_old_one_showed(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    before = without_keys(load_facts())
    Airline.objects.all().delete()
    world.poll()
    assert not Load.objects.exists()
    assert brought_back(world) == 1
    assert without_keys(load_facts()) == before
    assert is_archived()
    assert load().tail.discovered
    topics = set(Change.objects.values_list("topic", flat=True))
    assert {"load", "tail", "campaign", "airline"} <= topics
    world.later()
    world.poll()
    assert without_keys(load_facts()) == before
    assert brought_back(world) == 0


def test_a_campaign_that_exists_only_in_the_archive_is_restored_with_its_title(world: PollingWorld) -> None:
    finished(world)
    world.manifest(items={"a": 1}, title="December", version=7, exhibition={"starts": "2026-12-01"})
    archive(world)
    world.media.delete("ACME/2026-12/campaign.json")
    Airline.objects.all().delete()
    Airline.objects.create(name="ACME")
    assert brought_back(world) == 1
    assert load().campaign.discovered


def test_a_load_that_is_known_is_not_read_again(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    gets = world.status.requests.get
    assert brought_back(world) == 0
    assert world.status.requests.get == gets


@pytest.mark.parametrize(
    ("key", "body"),
    [
        (KEY, b"no gzip"),
        (KEY, b"x" * 2_000),
        ("ACME/.archive/stray", b""),
        ("ACME/.archive/N1/a\nb.json.gz", b""),
    ],
)
def test_an_invalid_archive_is_an_anomaly_until_it_is_removed(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch, key: str, body: bytes
) -> None:
    monkeypatch.setattr(packed, "ARCHIVE_LIMIT", 1_000)
    finished(world, "N2")
    world.status.put(key, body)
    assert brought_back(world) == 0
    row = Anomaly.objects.get(problem="BAD_ARCHIVE", resolved_at=None)
    assert row.key == key
    world.poll()
    gets = world.status.requests.get
    assert brought_back(world) == 0
    assert world.status.requests.get == gets
    assert Anomaly.objects.filter(problem="BAD_ARCHIVE", resolved_at=None).count() == 1
    world.status.delete(key)
    brought_back(world)
    assert not Anomaly.objects.filter(problem="BAD_ARCHIVE", resolved_at=None).exists()


def test_an_archive_of_another_load_is_refused(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    fetched = world.status.get(KEY, 100_000)
    assert fetched is not None
    world.status.put(archive_key("ACME", "N7", "2026-12"), fetched.body)
    assert brought_back(world) == 0
    assert "as in the key" in Anomaly.objects.get(problem="BAD_ARCHIVE").detail


@pytest.mark.parametrize("limits", [Limits(tails=0), Limits(campaigns=0), Limits(tails_in_all=0)])
def test_strangers_cannot_fill_the_database_with_archives(world: PollingWorld, limits: Limits) -> None:
    finished(world)
    archive(world)
    Airline.objects.all().delete()
    Airline.objects.create(name="ACME")
    assert brought_back(world, limits) == 0
    assert "limit of" in Anomaly.objects.get(problem="BAD_ARCHIVE").detail


def test_names_that_differ_only_in_case_make_no_second_tail(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    fetched = world.status.get(KEY, 100_000)
    assert fetched is not None
    other = packed.parse_archive(fetched.body, airline="ACME", tail="N1", campaign="2026-12")
    lower = packed.Archive("ACME", "n1", "2026-12", other.load, other.transfers)
    world.status.put(archive_key("ACME", "n1", "2026-12"), packed.build_archive(lower))
    assert brought_back(world) == 0
    assert "conflict" in Anomaly.objects.get(problem="BAD_ARCHIVE").detail


def test_no_part_of_a_large_airline_lists_its_archives(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(world)
    finished(world, "N2")
    archive(world)
    world.status.put(archive_key("ACME", "N8", "2026-12"), b"rubbish")
    brought_back(world)
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 2)
    monkeypatch.setattr(partitions, "PARTITION_KEYS", 1)
    acme = Airline.objects.get(name="ACME")
    parts: tuple[str, ...] | list[str] = partitions.UNPARTITIONED
    for _ in range(2):
        _, parts = poll_root(acme, world.media, world.status, world.clock, partitions=tuple(parts))
    assert len(parts) > 1
    assert not any(part.startswith(".") or not part for part in parts)
    assert Anomaly.objects.filter(problem="BAD_ARCHIVE", resolved_at=None).count() == 1
    assert is_archived()
