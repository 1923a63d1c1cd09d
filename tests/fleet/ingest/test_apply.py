"""Changes of many tails are written together: atomically, with as many statements as for one, without blocking."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, ContentItem
from fleet.ingest.apply import ApplyResult, apply_tails
from fleet.ingest.updates import Catalog, LoadUpdate, TailUpdate
from fleet.models import Load, Tail, Transfer
from fleet.state.observations import ErrorObserved, HeartbeatObserved, ProgressObserved
from ifeportal.models import Airline
from tests.support.polling_world import PollingWorld, load, rows, tail, transfer
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.both_databases

CAMPAIGN = "2026-12"


def catalog() -> Catalog:
    """Return the items of the campaign as the rows have them."""
    campaigns = {row.name: row for row in Campaign.objects.all()}
    sizes: dict[str, dict[str, int]] = {name: {} for name in campaigns}
    for item in ContentItem.objects.filter(listed=True).select_related("campaign"):
        sizes[item.campaign.name][item.name] = item.size
    return Catalog(campaigns, sizes)


def fleet(world: PollingWorld, tails: int, items: int) -> list[int]:
    """Create tails with all items at 10 of 100 bytes; return their ids."""
    world.manifest(items={f"item-{item:02}": 100 for item in range(items)})
    for number in range(tails):
        for item in range(items):
            world.progress(f"N{number:02}/{CAMPAIGN}/item-{item:02}", 10)
    world.poll()
    world.later()
    return list(Tail.objects.order_by("pk").values_list("pk", flat=True))


def moved(at: datetime, value: int, items: Sequence[int] = (0,)) -> TailUpdate:
    """These items are at `value` bytes."""
    progress = {f"item-{item:02}": ProgressObserved(f"etag-{value}", at, value) for item in items}
    return TailUpdate({CAMPAIGN: LoadUpdate(dict(progress))}, heard_at=at)


def applied(world: PollingWorld, batch: Mapping[int, TailUpdate]) -> ApplyResult:
    return apply_tails(Airline.objects.get(), batch, catalog(), world.clock)


@pytest.mark.django_db
def test_every_tail_of_a_batch_gets_its_own_news_and_one_deleted_meanwhile_none(world: PollingWorld) -> None:
    pks = fleet(world, 4, 2)
    Tail.objects.get(pk=pks[1]).delete()
    at = world.clock
    batch = {pk: moved(at, 20 + number) for number, pk in enumerate(pks)}
    batch[pks[2]].load(CAMPAIGN).errors["item-01"] = ErrorObserved("e", at, "IO_ERROR", "disk")
    batch[pks[3]] = TailUpdate(heartbeat=HeartbeatObserved("h", at, None), heard_at=at)
    result = applied(world, batch)
    assert (result.transfers, result.loads) == (3, 2)
    assert (transfer("item-00", "N00").bytes_done, transfer("item-00", "N02").bytes_done) == (20, 22)
    assert (load("N00").bytes_done, load("N02").status, load("N02").error_content) == (30, "failed", "item-01")
    assert (load("N03").bytes_done, tail("N03").heartbeat_etag, tail("N02").heard_at) == (20, "h", at)
    assert not Tail.objects.filter(name="N01").exists()


@pytest.mark.django_db
def test_late_objects_are_reported_for_their_tail(world: PollingWorld) -> None:
    pks = fleet(world, 3, 1)
    batch = {pk: moved(world.clock, 30) for pk in pks}
    world.later(-60)
    batch[pks[1]] = moved(world.clock, 5)
    result = applied(world, batch)
    assert result.superseded == {pks[1]: {("progress", CAMPAIGN, "item-00")}}
    assert transfer("item-00", "N01").bytes_done == 10


@pytest.mark.parametrize("what", ["news", "errors", "manifest"])
@pytest.mark.django_db
def test_as_many_statements_for_many_tails_and_items_as_for_few(world: PollingWorld, what: str) -> None:
    counts = []
    for tails, items in ((2, 2), (40, 2), (2, 40)):
        Airline.objects.all().delete()
        world.status.__init__("status", clock=lambda: world.clock)  # type: ignore[misc]
        pks = fleet(world, tails, items)
        batch = {pk: moved(world.clock, 50, range(items)) for pk in pks}
        if what == "errors":
            for update in (each.load(CAMPAIGN) for each in batch.values()):
                update.errors = {item: ErrorObserved("e", world.clock, "IO_ERROR", "disk") for item in update.progress}
        if what == "manifest":
            Campaign.objects.update(manifest_etag="another")
            ContentItem.objects.update(size=200)
            batch = {pk: TailUpdate({CAMPAIGN: LoadUpdate()}) for pk in pks}
        known = catalog()
        with CaptureQueriesContext(connection) as queries:
            result = apply_tails(Airline.objects.get(), batch, known, world.clock)
        assert result.transfers == tails * items
        counts.append(len(queries))
    assert counts[0] == counts[1] == counts[2] <= (38 if what == "errors" else 30)


@pytest.mark.django_db
def test_a_lost_lease_undoes_everything(world: PollingWorld) -> None:
    pks = fleet(world, 3, 2)
    before = rows()

    def refuse() -> None:
        assert transfer("item-00", "N00").bytes_done == 70, "it is asked after the writing"
        raise RuntimeError("the lease is lost")

    batch = {pk: moved(world.clock, 70) for pk in pks}
    with pytest.raises(RuntimeError, match="the lease is lost"):
        apply_tails(Airline.objects.get(), batch, catalog(), world.clock, lease=ScriptedLease(on_check_fence=refuse))
    assert rows() == before


@pytest.mark.django_db
def test_a_tail_that_cannot_be_written_takes_its_batch_with_it(world: PollingWorld) -> None:
    pks = fleet(world, 3, 1)
    before = rows()
    batch = {pk: moved(world.clock, 70) for pk in pks}
    batch[pks[2]].load(CAMPAIGN).progress["item-00"] = ProgressObserved("e", world.clock, -1)
    with pytest.raises(IntegrityError):
        applied(world, batch)
    assert rows() == before


@pytest.mark.django_db(transaction=True)
def test_writers_of_the_same_tails_in_opposite_order_do_not_wait_in_a_circle() -> None:
    world = PollingWorld()
    pks = fleet(world, 8, 2)
    rounds, at = 12, world.clock
    start = threading.Barrier(2)

    def write(order: Sequence[int], values: range) -> int:
        written = 0
        try:
            for value in values:
                start.wait(60)
                written += applied(world, {pk: moved(at, value, (0, 1)) for pk in order}).transfers
        finally:
            connection.close()
        return written

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(write, pks[:6], range(20, 20 + rounds))
        other = pool.submit(write, pks[:1:-1], range(50, 50 + rounds))
        assert one.result() > 0
        assert other.result() > 0
    for row in Load.objects.all():
        assert row.bytes_done == sum(each.bytes_done for each in row.transfers.all())
    assert {row.bytes_done for row in Transfer.objects.filter(load__tail__in=pks[6:])} == {50 + rounds - 1}
    assert {row.bytes_done for row in Transfer.objects.filter(load__tail__in=pks[:2])} == {20 + rounds - 1}


@pytest.mark.django_db
def test_a_new_manifest_writes_only_the_transfers_it_has_differently(world: PollingWorld) -> None:
    pks = fleet(world, 5, 6)
    Transfer.objects.filter(load__tail=pks[0], content="item-05").delete()
    before = {row["id"]: row for row in Transfer.objects.values()}
    items = {f"item-{item:02}": 100 for item in (0, 1, 2, 5)} | {"item-01": 300, "new": 7}
    world.manifest(items=items)
    changed = world.poll()
    # For each tail: one with another size, two no longer listed, a new one, and one that was missing.
    assert changed.transfers_changed == 5 * 4 + 1
    for row in Transfer.objects.select_related("load__tail").all():
        if row.content in {"item-00", "item-02"} or (row.content == "item-05" and row.pk in before):
            assert before[row.pk] == Transfer.objects.values().get(pk=row.pk)
    for name in ("N00", "N04"):
        row = transfer("item-03", name)
        assert (row.listed, row.bytes_done, row.bytes_total) == (False, 10, 100)
        assert (transfer("item-01", name).bytes_total, transfer("new", name).status) == (300, "pending")
        assert (load(name).bytes_total, load(name).items_total) == (607, 5)
    assert transfer("item-05", "N00").bytes_done == 10
    world.later()
    world.manifest(items=items | {"item-03": 100})
    assert world.poll().transfers_changed == 5
    assert transfer("item-03", "N02").listed
    assert set(Load.objects.values_list("manifest_etag", flat=True)) == {Campaign.objects.get().manifest_etag}


@pytest.mark.django_db
def test_two_campaigns_of_a_batch_are_each_compared_with_their_own_manifest(world: PollingWorld) -> None:
    world.manifest("one", items={"a": 100, "b": 100})
    world.manifest("two", items={"a": 200})
    for name in ("N1", "N2"):
        for campaign in ("one", "two", "three"):
            world.progress(f"{name}/{campaign}/a", 50)
    world.poll()
    world.later()
    world.manifest("one", items={"a": 400})
    world.manifest("two", items={"a": 200, "c": 1})
    result = world.poll()
    assert result.transfers_changed == 2 * 3
    for name in ("N1", "N2"):
        totals = {each: load(name, each).bytes_total for each in ("one", "two", "three")}
        assert totals == {"one": 400, "two": 201, "three": None}
