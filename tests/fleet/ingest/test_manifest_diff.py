"""Changes of a manifest reach loads in progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fleet.ingest.apply import ApplyResult, apply_tails
from fleet.ingest.updates import TailUpdate
from fleet.models import Anomaly, Load, Tail, Transfer
from ifeportal.models import Airline
from loader.errors import Code, WorldError
from loader.s3.interface import ObjectInfo
from tests.support.polling_world import PollingWorld, load, rows, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_status_before_the_manifest_shows_bytes_and_no_percentage(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 40)
    world.poll()
    assert (transfer("a").bytes_total, transfer("a").percent, transfer("a").status) == (None, None, "loading")
    assert (load().bytes_done, load().bytes_total, load().items_total, load().percent) == (40, None, None, None)
    world.later()
    world.manifest(items={"a": 100, "b": 100})
    world.poll()
    assert (transfer("a").percent, transfer("a").listed, transfer("b").status) == (40, True, "pending")
    assert (load().percent, load().items_total, load().bytes_total) == (20, 2, 200)


def test_a_new_version_moves_the_totals_of_every_load_under_way(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100, "gone": 100}, version=1)
    for name in ("N1", "N2"):
        world.progress(f"{name}/2026-12/a", 100)
        world.progress(f"{name}/2026-12/gone", 50)
    world.poll()
    assert load().percent == 50
    world.later()
    world.manifest(items={"a": 400, "b": 100, "new": 500}, version=2)
    result = world.poll()
    assert result.get_requests == 1
    for name in ("N1", "N2"):
        row = load(name)
        assert (row.bytes_total, row.bytes_done, row.items_total, row.status) == (1000, 100, 3, "loading")
        assert (transfer("a", name).percent, transfer("a", name).status) == (25, "loading")
        assert transfer("new", name).status == "pending"
        removed = transfer("gone", name)
        assert (removed.listed, removed.bytes_done, removed.bytes_total) == (False, 50, 100)
    before = rows()
    world.poll()
    assert rows() == before


def test_an_item_that_is_listed_again_counts_again(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100})
    world.progress("N1/2026-12/b", 100)
    world.poll()
    world.manifest(items={"a": 100})
    world.poll()
    assert (load().bytes_done, load().items_done) == (0, 0)
    world.manifest(items={"a": 100, "b": 100})
    world.poll()
    assert (load().bytes_done, load().items_done) == (100, 1)


def test_a_refused_manifest_leaves_the_last_good_one_in_force(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.poll()
    world.later()
    world.media.put("ACME/2026-12/campaign.json", b"{")
    result = world.poll()
    assert (load().percent, load().campaign.manifest_state) == (50, "refused")
    assert result.anomalies == 1
    before = rows()
    world.poll()
    assert rows() == before


def test_a_manifest_that_vanishes_leaves_the_last_good_one_in_force(world: PollingWorld) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.poll()
    world.media.delete("ACME/2026-12/campaign.json")
    world.poll()
    assert (load().percent, load().campaign.manifest_state, transfer("a").listed) == (50, "missing", True)
    before = rows()
    world.poll()
    assert rows() == before


def test_a_worker_that_dies_between_catalog_and_tails_is_made_up_for(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.poll()
    world.manifest(items={"a": 200})
    with monkeypatch.context() as patch:
        patch.setattr("fleet.polling.poller._read_partition", lambda *_: False)
        world.poll()
    assert load().bytes_total == 100
    world.poll()
    assert (load().bytes_total, transfer("a").percent) == (200, 25)


def test_new_totals_arrive_even_while_the_status_bucket_is_away(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.manifest(items={"a": 100})
    world.progress("N1/2026-12/a", 50)
    world.poll()
    world.manifest(items={"a": 200})
    monkeypatch.setattr(world.status, "list", _away)
    result = world.poll()
    assert (load().bytes_total, load().status) == (200, "loading")
    assert result.failures


def test_the_status_bucket_is_read_while_the_media_bucket_is_away(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    Airline.objects.create(name="ACME")
    world.progress("N1/2026-12/a", 50)
    monkeypatch.setattr(world.media, "list", _away)
    result = world.poll()
    assert transfer("a").bytes_done == 50
    assert len(result.failures) == 1
    assert "TIMEOUT" in result.failures[0]


def test_half_a_listing_deletes_nothing(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for item in ("a", "b"):
        world.progress(f"N1/2026-12/{item}", 50)
    world.poll()
    before = rows()
    whole = list(world.status.list("ACME/"))

    def broken(prefix: str = "") -> Iterator[ObjectInfo]:
        yield whole[0]
        raise WorldError(Code.TIMEOUT)

    monkeypatch.setattr(world.status, "list", broken)
    assert world.poll().failures
    assert rows() == before


def test_a_progress_that_vanished_is_deleted_and_counts_no_more(world: PollingWorld) -> None:
    world.manifest(items={"a": 100, "b": 100})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2026-12/b", 100)
    world.poll()
    assert load().status == "complete"
    world.later()
    world.remove("N1/2026-12/a.tgz.progress")
    world.poll()
    assert (transfer("a").status, load().status, load().bytes_done) == ("deleted", "loading", 100)
    world.remove("N1/2026-12/b.tgz.progress")
    world.poll()
    assert (load().status, load().bytes_done) == ("deleted", 0)
    before = rows()
    world.poll()
    assert rows() == before
    world.later()
    world.progress("N1/2026-12/a", 100)
    world.poll()
    assert (transfer("a").status, load().status) == ("complete", "loading")


def test_an_item_of_zero_bytes_does_not_divide_by_zero(world: PollingWorld) -> None:
    world.manifest(items={"empty": 0, "a": 100})
    world.progress("N1/2026-12/empty", 0)
    world.progress("N1/2026-12/a", 0)
    world.poll()
    assert (transfer("empty").status, transfer("empty").percent, load().status) == ("complete", 100, "pending")
    world.manifest(items={"empty": 0})
    world.poll()
    assert (load().status, load().percent) == ("complete", 100)


def test_a_tail_that_cannot_be_written_does_not_block_others(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("N1", "N2", "N3"):
        world.progress(f"{name}/2026-12/a", 50)

    monkeypatch.setattr("fleet.polling.writer.apply_tails", _second_fails)
    result = world.poll()
    assert (result.failures, result.anomalies) == ((), 1)
    assert "ValueError" in Anomaly.objects.get(resolved_at=None, key="ACME/N2/").detail
    assert Transfer.objects.count() == 2
    monkeypatch.undo()
    assert not world.poll().failures
    assert Load.objects.count() == 3


def _second_fails(airline: Airline, batch: Mapping[int, TailUpdate], *args: Any, **more: Any) -> ApplyResult:
    if Tail.objects.filter(pk__in=batch, name="N2").exists():
        raise ValueError("boom")
    return apply_tails(airline, batch, *args, **more)


def _away(prefix: str = "") -> object:
    raise WorldError(Code.TIMEOUT, "the store is away")
