"""An archived load with new reports becomes active again; polls during its archiving change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from fleet.archive.format import parse_archive
from fleet.choices import Status
from fleet.models import Transfer
from loader.errors import WorldError
from loader.s3.interface import ObjectInfo
from loader.s3.memory import MemoryBucket
from tests.support.archived_loads import KEY, FailingBucket, archive, finished, is_archived, load_facts, own_object_keys
from tests.support.polling_world import MIB, PollingWorld, load, rows, transfer


def statuses() -> dict[str, str]:
    return dict(Transfer.objects.values_list("content", "status"))


def test_a_load_that_is_reported_again_lives_and_keeps_what_its_other_items_last_said(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    world.later()
    world.progress("N1/2026-12/a", MIB)
    for _ in range(3):
        world.poll()
        assert not is_archived()
        assert statuses() == {"a": Status.LOADING, "b": Status.COMPLETE, "c": Status.COMPLETE}
        assert (load().status, load().bytes_done) == (Status.LOADING, 6 * MIB)
        world.later()
    assert transfer("a").restarted
    world.progress("N1/2026-12/a", 3 * MIB)
    world.poll()
    assert load().status == Status.COMPLETE
    assert archive(world) == []
    world.later(31 * 86_400)
    assert archive(world)[0].objects == 1
    assert own_object_keys(world) == []
    fetched = world.status.get(KEY, 100_000)
    assert fetched is not None
    there = parse_archive(fetched.body, airline="ACME", tail="N1", campaign="2026-12")
    assert there.load["finished_at"] == load().finished_at
    assert {name: each["status"] for name, each in there.transfers.items()} == dict.fromkeys("abc", "complete")


def test_a_complete_load_that_restarts_is_followed_as_any_other(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    world.later()
    for name in "abc":
        world.progress(f"N1/2026-12/{name}", 0)
    world.poll()
    world.poll()  # the archive removed the error of b
    assert statuses() == {"a": Status.PENDING, "b": Status.PENDING, "c": Status.COMPLETE}
    for name in "abc":
        world.remove(f"N1/2026-12/{name}.tgz.progress")
    world.later()
    world.poll()
    assert statuses() == dict.fromkeys("abc", Status.DELETED)


def test_an_error_of_the_campaign_brings_an_archived_load_back(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    world.later()
    world.write("N1/2026-12/campaign.json.error", b"UNSIGNED: no signature")
    for _ in range(2):
        world.poll()
        assert not is_archived()
        assert load().status == Status.FAILED
        assert statuses() == dict.fromkeys("abc", Status.COMPLETE)


def test_a_new_manifest_leaves_an_archived_load_as_it_was(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    before = load_facts()
    world.manifest(items={"a": 1, "z": 9}, version=2)
    world.poll()
    assert load_facts() == before
    assert is_archived()


class Meanwhile:
    """A bucket with actions right before and right after the airline's listing."""

    def __init__(
        self,
        bucket: MemoryBucket,
        *,
        before: Callable[[], object] = lambda: None,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        self._bucket, self._before, self._after = bucket, before, after
        self.done = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._bucket, name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix != "ACME/":
            return self._bucket.list(prefix)
        self.done += 1
        self._before()
        found = list(self._bucket.list(prefix))
        self._after()
        return iter(found)


def poll_through(world: PollingWorld, bucket: Meanwhile, real: MemoryBucket) -> None:
    world.status = bucket  # type: ignore[assignment]
    world.poll()
    world.status = real
    assert bucket.done


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("begun", [False, True], ids=["from the beginning", "half swept before"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_poll_that_crosses_the_archiving_changes_nothing(world: PollingWorld, begun: bool, when: str) -> None:
    finished(world)
    before, real = load_facts(), world.status
    if begun:
        with pytest.raises(WorldError):
            archive(world, FailingBucket(real, 8))
        assert load().sweeping

    def cross() -> None:
        archive(world, real)
        connection.close()  # a listing is read in a separate thread

    poll_through(world, Meanwhile(real, before=cross) if when == "before" else Meanwhile(real, after=cross), real)
    assert load_facts() == before
    assert is_archived()
    everything = rows()
    world.later()
    world.poll()
    assert rows() == everything
