"""An airline with very many keys is listed in parts, each within the limit of a listing, without gaps."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from fleet.ingest.apply import ApplyResult, apply_tails
from fleet.models import Anomaly, Tail, Transfer
from fleet.polling import poller
from fleet.polling import writer as polling_writer
from fleet.polling.poller import PollOptions, poll_airline, poll_partition, poll_root
from fleet.reconcile import partitions
from fleet.reconcile.diff import diff_listing
from fleet.reconcile.limits import Limits
from fleet.reconcile.pending import TailChanges
from ifeportal.models import Airline, User
from tests.fleet.polling.test_interleavings import truth
from tests.support.polling_world import MIB, PollingWorld, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
TAILS = [f"D-A{letter}{number}" for letter in "BCX" for number in range(4)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits: 400 keys per listing, partitioned above 200 keys, 100 keys per part."""
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 200)
    monkeypatch.setattr(partitions, "PARTITION_KEYS", 100)


def acme() -> Airline:
    return Airline.objects.get(name="ACME")


def fill(world: PollingWorld, items: int = 30, tails: list[str] = TAILS) -> None:
    world.manifest(items={f"item-{number:03}": 3 * MIB for number in range(items)})
    for tail in tails:
        for number in range(items):
            world.progress(f"{tail}/2026-12/item-{number:03}", 3 * MIB if number % 2 else MIB)


def test_more_keys_than_a_listing_may_have_are_read_in_parts_at_once(world: PollingWorld) -> None:
    fill(world, items=50)
    world.limits = Limits(keys=400)
    result = world.poll()
    assert (result.failures, result.truncated) == ((), 1)
    assert Transfer.objects.count() == 600
    assert sum(tail.keys for tail in Tail.objects.all()) >= 550
    lists = world.status.requests.list
    again = world.poll()
    assert (again.objects_changed, again.truncated, again.transfers_changed) == (0, 0, 0)
    # One page for airlines and tails, then one for each part.
    parts = poll_root(acme(), world.media, world.status, world.clock)[1]
    assert len(parts) > 3
    assert world.status.requests.list - lists == 2 + len(parts) + 1
    assert odd() == {}


def odd() -> dict[str, str]:
    return dict(Anomaly.objects.filter(resolved_at=None).values_list("key", "problem"))


def test_in_parts_or_as_a_whole_the_rows_are_the_same(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    world.poll()
    world.later()
    world.progress("D-AB1/2026-12/item-004", 2 * MIB)
    world.remove("D-AX3/2026-12/item-001.tgz.progress")
    world.error("D-AC0/2026-12/item-002", "IO_ERROR: x")
    world.write("D-AC0/what is this", b"?")
    world.progress("D-AZ9/2026-12/item-000", MIB)
    world.poll()
    assert transfer("item-001", "D-AX3").status == "deleted"
    assert transfer("item-000", "D-AZ9").bytes_done == MIB
    in_parts = truth(), odd(), set(Tail.objects.values_list("name", flat=True))
    Airline.objects.all().delete()
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 10**6)
    world.poll()
    assert transfer("item-001", "D-AX3").status == "pending", "what was never seen was never deleted"
    Transfer.objects.filter(content="item-001", load__tail__name="D-AX3").delete()
    assert in_parts == (truth(), odd(), set(Tail.objects.values_list("name", flat=True)))


def test_a_tail_with_too_many_keys_does_not_block_others(world: PollingWorld, client: Client) -> None:
    """Its keys beyond the limit are skipped and reported; the other tails are fresh within two polls."""
    world.limits = Limits(keys=300)
    for number in range(1000):
        world.progress(f"D-AB1/2026-12/item-{number:04}", MIB)
    for tail in ("D-AB0", "D-AB2", "D-AX1"):
        world.progress(f"{tail}/2026-12/film", MIB)
    for _ in range(2):
        world.poll()
    assert {transfer("film", tail).bytes_done for tail in ("D-AB0", "D-AB2", "D-AX1")} == {MIB}
    assert Transfer.objects.filter(load__tail__name="D-AB1").count() == 300
    assert odd() == {"ACME/D-AB1/": "TOO_MANY_KEYS"}
    client.force_login(User.objects.create_user("olga", is_staff=True))
    assert "More than 300 keys" in client.get("/airlines/ACME/tails/D-AB1/").content.decode()
    assert "More than 300 keys" not in client.get("/airlines/ACME/tails/D-AB2/").content.decode()
    world.later()
    world.progress("D-AX1/2026-12/film", 2 * MIB)
    result = world.poll()
    assert (result.failures, transfer("film", "D-AX1").bytes_done) == ((), 2 * MIB)
    assert Transfer.objects.exclude(status="loading").count() == 0, "what was not listed is not gone"
    for number in range(1000):
        world.remove(f"D-AB1/2026-12/item-{number:04}.tgz.progress")
    world.poll()
    assert Transfer.objects.filter(status="deleted").count() == 300
    assert odd() == {}


def test_a_part_touches_only_its_own(world: PollingWorld) -> None:
    fill(world)
    world.poll()
    world.later()
    for tail in TAILS:
        world.progress(f"{tail}/2026-12/item-000", 2 * MIB)
    _, parts = poll_root(acme(), world.media, world.status, world.clock, PollOptions())
    assert len(parts) > 1
    result = poll_partition(acme(), parts[0], world.status, world.clock)
    changed = set(Transfer.objects.filter(bytes_done=2 * MIB).values_list("load__tail__name", flat=True))
    assert changed == {tail for tail in TAILS if f"{tail}/".startswith(parts[0])}
    assert result.transfers_changed == result.changes - len(changed) == len(changed)


def test_partitions_are_reused_and_a_tail_outside_of_them_is_found(world: PollingWorld) -> None:
    fill(world)
    world.poll()
    poll_airline(acme(), world.media, world.status, world.clock)
    _, parts = poll_root(acme(), world.media, world.status, world.clock)
    assert poll_root(acme(), world.media, world.status, world.clock, partitions=parts)[1] == parts
    world.progress("N1/2026-12/item-000", MIB)
    _, after = poll_root(acme(), world.media, world.status, world.clock, partitions=parts)
    assert any("N1/".startswith(part) for part in after)
    assert not any("N1/".startswith(part) for part in parts)


def test_results_are_written_before_the_limit_in_memory_is_reached(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []

    def watched(*args: Any) -> Iterator[dict[str, TailChanges]]:
        for tails in diff_listing(*args):
            waiting.append(sum(len(each.changed) for each in tails.values()))
            yield tails

    monkeypatch.setattr("fleet.polling.writer.diff_listing", watched)
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 10**6)
    world.limits = Limits(pending_objects=64)
    fill(world)
    world.progress("D-AB0/2026-12/item-003", b"what?")
    result = world.poll()
    assert waiting == [64] * (12 * 30 // 64)
    assert (result.objects_changed, result.anomalies) == (12 * 30 + 1, 1)
    assert Transfer.objects.filter(status="complete").count() == 12 * 15 - 1
    world.progress("D-AB0/2026-12/item-003", 3 * MIB)
    assert world.poll().anomalies == 0
    assert Transfer.objects.filter(status="complete").count() == 12 * 15


def test_the_time_of_writes_does_not_count_as_listing_time(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)

    def slow(*args: Any, **options: Any) -> ApplyResult:
        clock.now += 30.0
        return apply_tails(*args, **options)

    for module in (poller, polling_writer):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(polling_writer, "apply_tails", slow)
    monkeypatch.setattr(poller, "LISTING_TIME_LIMIT", 1.0)
    monkeypatch.setattr(poller, "OBJECTS_PER_TIME_CHECK", 1)
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 10**6)
    world.limits = Limits(pending_objects=30)
    fill(world)
    result = world.poll()
    assert (result.failures, result.objects_seen) == ((), 12 * 30 + 1)
    assert Tail.objects.exclude(loads=None).count() == 12
    assert clock.now >= 12 * 30.0


def test_a_poll_that_has_no_time_left_leaves_the_rest_to_the_next(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is not lost, not treated as deleted, and read without reading the first part again."""
    monkeypatch.setattr(partitions, "UNPARTITIONED_LIMIT", 10**6)
    monkeypatch.setattr("fleet.polling.batches.OBJECTS_A_BATCH", 30)
    fill(world)
    world.poll()
    before = Transfer.objects.count()
    world.later()
    for tail in TAILS:
        for number in range(30):
            world.progress(f"{tail}/2026-12/item-{number:03}", 7)
    hurried = PollOptions(Limits(pending_objects=60), seconds=0)
    gets = world.status.requests.get
    results = [poll_airline(acme(), world.media, world.status, world.clock, hurried) for _ in range(13)]
    assert [result.unfinished for result in results] == [1] * 12 + [0]
    assert [result.transfers_changed for result in results] == [30] * 12 + [0]
    assert (Transfer.objects.filter(bytes_reported=7).count(), Transfer.objects.count()) == (12 * 30, before)
    assert world.status.requests.get - gets == 12 * 30
    assert odd() == {}
