"""The rows of an airline as a poll compares them with a listing."""

from __future__ import annotations

import gc

import pytest

from fleet.models import Transfer
from fleet.polling.snapshot import SEPARATOR, load_snapshot
from ifeportal.models import Airline
from tests.support.polling_world import MIB, PollingWorld

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def loaded_world(world: PollingWorld) -> PollingWorld:
    """Poll two tails with two items each, one of which failed, and one that never began."""
    world.manifest(items={"film": 8 * MIB, "series one": 8 * MIB, "later": MIB})
    for tail in ("N1", "N2"):
        world.progress(f"{tail}/2026-12/film", 2 * MIB)
        world.progress(f"{tail}/2026-12/series one", 8 * MIB)
    world.error("N2/2026-12/film", "NETWORK: no answer\n")
    world.poll()
    return world


def test_every_object_has_the_version_of_its_row(world: PollingWorld) -> None:
    listed = {info.key: (info.etag, int(info.last_modified.timestamp())) for info in loaded_world(world).status.list()}

    known = load_snapshot(Airline.objects.get()).known

    assert known.versions == listed
    assert known.transfer_counts == {("N1", "2026-12"): 3, ("N2", "2026-12"): 3}


def test_a_text_with_the_separator_is_read_row_by_row(world: PollingWorld) -> None:
    loaded_world(world)
    before = load_snapshot(Airline.objects.get()).known.versions
    Transfer.objects.filter(load__tail__name="N1", content="film").update(progress_etag=f"a{SEPARATOR}b")

    versions = load_snapshot(Airline.objects.get()).known.versions

    key = "ACME/N1/2026-12/film.tgz.progress"
    assert versions == before | {key: (f"a{SEPARATOR}b", before[key][1])}


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(world: PollingWorld, enabled: bool) -> None:
    loaded_world(world)
    if not enabled:
        gc.disable()
    try:
        load_snapshot(Airline.objects.get())
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
