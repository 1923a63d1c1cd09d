"""Archiving: which loads are due, one object instead of many, and no loss wherever it is interrupted."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.archive import archiver
from fleet.archive.archiver import archive_after_days, preview
from fleet.archive.format import LOAD_FIELDS, TRANSFER_FIELDS, build_archive, parse_archive
from fleet.choices import Status
from fleet.models import ProgressSample, Tail, Transfer
from fleet.state import transfer as state_transfer
from fleet.state.load import ARCHIVED_FIELDS
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.formatting import iso
from ifeportal.live.models import Change
from ifeportal.models import Airline, User
from loader.errors import Code, Unsupported, WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import GetResult
from tests.support.archived_loads import (
    KEY,
    SIZES,
    FailingBucket,
    OverriddenBucket,
    archive,
    finished,
    is_archived,
    load_facts,
    own_object_keys,
)
from tests.support.polling_world import MIB, PollingWorld, load, rows, transfer

pytestmark = pytest.mark.both_databases


def test_the_archive_names_every_field_that_observation_decides() -> None:
    assert tuple(sorted(LOAD_FIELDS)) == tuple(sorted(ARCHIVED_FIELDS))
    assert tuple(sorted(TRANSFER_FIELDS)) == tuple(sorted(state_transfer.TRANSFER_FIELDS))


def test_many_small_objects_become_one_and_rows_are_unchanged(world: PollingWorld) -> None:
    finished(world)
    before = load_facts()
    assert len(own_object_keys(world)) == 4
    (outcome,) = archive(world)
    assert (outcome.tail, outcome.campaign, outcome.objects, outcome.left_alone) == ("N1", "2026-12", 4, "")
    assert own_object_keys(world) == []
    assert load_facts() == before
    assert load().archived_at == world.clock
    fetched = world.status.get(KEY, 100_000)
    assert fetched is not None
    assert len(fetched.body) == outcome.bytes
    there = parse_archive(fetched.body, airline="ACME", tail="N1", campaign="2026-12")
    assert set(there.transfers) == set(SIZES)
    assert there.transfers["b"]["error_code"] == "TIMEOUT"
    assert there.load["finished_at"] == load().finished_at
    assert [count for _, count in there.samples] == [row["bytes_done"] for row in before["samples"]]
    assert "ACME/N1/loader.json" in {info.key for info in world.status.list("ACME/N1/")}


def test_polls_leave_an_archived_load_as_it_is(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    before = rows()
    for _ in range(2):
        world.later()
        assert world.poll().transfers_changed == 0
    assert rows() == before
    assert archive(world) == []


def test_the_feed_publishes_that_a_load_was_archived(world: PollingWorld) -> None:
    finished(world)
    archive(world)
    change = Change.objects.get(topic="load", object=load().pk)
    assert change.state["archived_at"] == iso(world.clock)
    assert change.state["status"] == "complete"


def test_pages_and_api_show_an_archived_load_as_it_was(world: PollingWorld, client: Client) -> None:
    finished(world)
    client.force_login(User.objects.create_user("olga", is_staff=True))
    page, row = "/airlines/ACME/tails/N1/", "/api/v1/loads/"
    assert client.get(row).json()["results"][0]["archived_at"] is None
    assert 'data-show="archived_at" hidden' in client.get(page).content.decode()
    before = client.get(row).json()["results"][0]
    archive(world)
    assert client.get(row).json()["results"][0] == {**before, "archived_at": iso(world.clock)}
    shown = " ".join(client.get(page).content.decode().split())
    assert 'data-show="archived_at" title' in shown
    assert "2027-01-10 12:30:00 UTC" in shown


# Due loads.


def test_no_load_is_archived_while_archiving_is_disabled(world: PollingWorld) -> None:
    finished(world)
    assert archive(world, days=None) == []
    assert len(own_object_keys(world)) == 4


def test_days_are_those_of_the_airline_else_of_the_settings(world: PollingWorld, settings: LazySettings) -> None:
    airline = Airline.objects.create(name="ACME")
    assert archive_after_days(airline) is None
    settings.ARCHIVE_AFTER = 90
    assert archive_after_days(airline) == 90
    airline.archive_after_days = 0
    assert archive_after_days(airline) == 0


def test_a_load_is_due_so_many_days_after_its_last_word(world: PollingWorld) -> None:
    finished(world)
    assert archive(world, days=41) == []
    world.progress("N1/2026-12/c", 0)  # written again with the same bytes
    world.poll()
    assert archive(world, days=40) == []
    world.later(40 * 86_400)
    assert len(archive(world, days=40)) == 1


@pytest.mark.parametrize(
    ("change", "due"),
    [
        (lambda world: world.progress("N1/2026-12/b", MIB), False),
        (lambda world: world.error("N1/2026-12/b", "NO_SPACE: full"), False),
        (lambda world: world.manifest(items={**SIZES, "d": 1}), False),
        (lambda world: world.manifest(items={**SIZES, "d": 1}, exhibition={"ends": "2026-12-31"}), True),
        (lambda world: [world.status.delete(key) for key in own_object_keys(world)], True),
    ],
    ids=["still loading", "failed", "an item is missing", "the exhibition is over", "deleted aboard"],
)
def test_only_a_load_that_is_over_is_due(world: PollingWorld, change: Callable[[PollingWorld], Any], due: bool) -> None:
    finished(world)
    change(world)
    world.poll()
    world.later(100 * 86_400)
    world.poll()
    before = load_facts()
    assert bool(archive(world)) is due
    assert is_archived() is due
    assert load_facts() == before


def test_a_load_without_a_manifest_is_never_taken_for_whole(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    world.later(1_000 * 86_400)
    assert archive(world) == []


def test_loads_of_other_airlines_are_left_alone(world: PollingWorld) -> None:
    finished(world)
    Airline.objects.create(name="BETA")
    assert list(archiver.archive_due(Airline.objects.get(name="BETA"), world.status, world.clock, 30)) == []


def test_a_dry_run_reports_the_same_result_and_sends_no_request(world: PollingWorld) -> None:
    finished(world)
    sent = world.status.requests.list, world.status.requests.put, world.status.requests.get
    would = list(preview(Airline.objects.get(name="ACME"), world.clock, 30))
    assert (world.status.requests.list, world.status.requests.put, world.status.requests.get) == sent
    assert not is_archived()
    assert archive(world) == would


# Concurrent changes.


def test_a_load_with_unread_objects_is_not_archived(world: PollingWorld) -> None:
    finished(world)
    world.progress("N1/2026-12/a", 0)
    (outcome,) = archive(world)
    assert outcome.left_alone == "its objects differ from those last read"
    assert not is_archived()
    assert len(own_object_keys(world)) == 4
    assert KEY not in {info.key for info in world.status.list()}


def interrupted(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch, step: str, news: Callable[[], object]
) -> list[Any]:
    """Archive a load, and call `news` right before the given step."""
    real = getattr(archiver, step)

    def first(*args: Any) -> Any:
        news()
        return real(*args)

    monkeypatch.setattr(archiver, step, first)
    outcomes = archive(world)
    monkeypatch.setattr(archiver, step, real)
    return outcomes


def test_news_before_the_load_is_marked_keep_it_alive(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(world)

    def news() -> None:
        world.progress("N1/2026-12/a", MIB)
        world.poll()

    (outcome,) = interrupted(world, monkeypatch, "mark_archived", news)
    assert outcome.left_alone == "it changed meanwhile"
    assert not is_archived()
    assert len(own_object_keys(world)) == 4


def test_a_report_between_mark_and_sweep_keeps_every_object(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world)
    (outcome,) = interrupted(world, monkeypatch, "delete_objects", lambda: world.progress("N1/2026-12/a", MIB))
    assert outcome.left_alone == "its loader reported again"
    assert not is_archived()
    assert len(own_object_keys(world)) == 4
    world.poll()
    assert load().status == Status.LOADING
    assert load().bytes_done == 6 * MIB
    assert Transfer.objects.filter(load=load(), status=Status.COMPLETE).count() == 2


def test_a_report_while_the_objects_are_deleted_is_not_deleted_with_them(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world)
    delete = world.status.delete
    reported = "ACME/N1/2026-12/c.tgz.progress"
    again: list[str] = []

    def overtaken(key: str) -> None:
        delete(key)
        if not again:
            world.later()
            world.progress("N1/2026-12/c", 7)
            again.append(key)

    monkeypatch.setattr(archiver, "DELETES_AT_ONCE", 1)
    monkeypatch.setattr(world.status, "delete", overtaken)
    assert [outcome.left_alone for outcome in archive(world)] == ["its loader reported again"]
    assert reported in own_object_keys(world)
    assert not is_archived()
    world.poll()
    assert transfer("c").bytes_reported == 7


def test_an_archive_that_is_not_there_any_more_keeps_every_object(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world)
    before = load_facts()
    (outcome,) = interrupted(world, monkeypatch, "delete_objects", lambda: world.status.delete(KEY))
    assert "archive is missing" in outcome.left_alone
    assert not is_archived()
    assert len(own_object_keys(world)) == 4
    world.poll()
    assert load_facts() == before
    assert archive(world)[0].left_alone == ""


def test_a_tail_deleted_meanwhile_ends_nothing_but_this_load(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world)
    finished(world, "N2")
    deleted = [lambda: Tail.objects.filter(name="N1").delete()]
    first, second = interrupted(world, monkeypatch, "mark_archived", lambda: deleted and deleted.pop()())
    assert first.left_alone == "it was deleted"
    assert (second.tail, second.left_alone) == ("N2", "")
    assert len(own_object_keys(world)) == 4


def test_objects_that_are_not_reports_are_never_deleted(world: PollingWorld) -> None:
    finished(world)
    world.write("N1/2026-12/notes.txt", b"mine")
    world.poll()
    archive(world)
    assert own_object_keys(world) == ["ACME/N1/2026-12/notes.txt"]
    assert is_archived()


# Faults.


@pytest.mark.parametrize("at", range(1, 10))
def test_a_store_that_goes_away_at_any_call_loses_nothing_and_the_next_run_goes_on(
    world: PollingWorld, at: int
) -> None:
    finished(world)
    before = load_facts()
    failing = FailingBucket(world.status, at)
    with pytest.raises(WorldError):
        archive(world, failing)
    assert failing.fired
    assert load_facts() == before
    assert is_archived() or len(own_object_keys(world)) == 4
    world.poll()  # the remaining objects change nothing
    assert load_facts() == before
    archive(world)
    assert is_archived()
    assert own_object_keys(world) == []
    assert load_facts() == before
    assert not load().sweeping


def test_without_the_right_to_write_nothing_is_changed(world: PollingWorld) -> None:
    finished(world)
    failing = FailingBucket(world.status, 2, WorldError(Code.FORBIDDEN, "PUT: access denied"))
    with pytest.raises(WorldError, match="access denied"):
        archive(world, failing)
    assert failing.fired
    assert not is_archived()
    assert len(own_object_keys(world)) == 4


def test_without_the_right_to_delete_the_load_lives_on(world: PollingWorld) -> None:
    finished(world)
    before = load_facts()

    refused: list[str] = []

    def refuse(key: str) -> None:
        refused.append(key)
        raise WorldError(Code.FORBIDDEN, "DELETE: access denied")

    strict = OverriddenBucket(world.status, delete=refuse)
    with pytest.raises(WorldError, match="access denied"):
        archive(world, strict)
    assert refused
    assert not is_archived()
    assert len(own_object_keys(world)) == 4
    world.poll()
    assert load_facts() == before


@pytest.mark.parametrize(
    "refusal", [Unsupported(Code.INTERNAL, "501 NotImplemented"), WorldError(Code.OBJECT_CHANGED, "412")]
)
def test_a_store_without_conditional_writes_gets_archives_too(world: PollingWorld, refusal: WorldError) -> None:
    def put(key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        if if_none_match or if_match:
            raise refusal
        return world.status.put(key, body)

    finished(world)
    (outcome,) = archive(world, OverriddenBucket(world.status, put=put))
    assert outcome.left_alone == ""
    assert own_object_keys(world) == []
    assert is_archived()


def test_an_archive_that_reads_back_otherwise_deletes_nothing(world: PollingWorld) -> None:
    finished(world)

    flipped: list[str] = []

    def flip(key: str, body: bytes, **condition: bool) -> str:
        flipped.append(key)
        return world.status.put(key, body[:-1] + b"?", if_none_match=condition["if_none_match"])

    broken = OverriddenBucket(world.status, put=flip)
    with pytest.raises(WorldError, match="differs from the one written"):
        archive(world, broken)
    assert flipped == [KEY]
    assert not is_archived()
    assert len(own_object_keys(world)) == 4


def test_a_foreign_object_at_the_archive_key_is_not_overwritten(world: PollingWorld) -> None:
    finished(world)
    world.status.put(KEY, b"precious")
    (outcome,) = archive(world)
    assert "another object is at" in outcome.left_alone
    fetched = world.status.get(KEY, 100)
    assert fetched is not None
    assert fetched.body == b"precious"
    assert len(own_object_keys(world)) == 4


def test_an_archive_that_another_process_replaces_meanwhile_leaves_the_load_alone(world: PollingWorld) -> None:
    finished(world)
    packed = archiver.prepare(load().pk).archive
    world.status.put(KEY, build_archive(replace(packed, title="older")))

    versions = itertools.count()

    def overtaken(key: str, limit: int) -> GetResult | None:
        found = world.status.get(key, limit)
        world.status.put(KEY, build_archive(replace(packed, title=f"newer {next(versions)}")))
        return found

    (outcome,) = archive(world, OverriddenBucket(world.status, get=overtaken))
    assert outcome.left_alone == "its archive was replaced meanwhile"
    assert not is_archived()
    assert len(own_object_keys(world)) == 4


def test_samples_thinned_between_two_attempts_do_no_harm(world: PollingWorld) -> None:
    finished(world)
    with pytest.raises(WorldError):
        archive(world, FailingBucket(world.status, 6))
    assert load().sweeping
    ProgressSample.objects.filter(pk=ProgressSample.objects.order_by("at")[0].pk).delete()
    archive(world)
    assert not load().sweeping
    assert own_object_keys(world) == []


class Deadly(FailingBucket):
    """Kills its process in place of the call."""

    def fire(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("at", [3, 5, 7], ids=["written", "marked", "half deleted"])
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_nothing_and_the_next_one_goes_on(seaweed: SeaweedFS, status: S3Bucket, at: int) -> None:
    world = PollingWorld()
    world.clock = timezone.now()
    world.status = status  # type: ignore[assignment]
    finished(world)
    world.remove("N1/2026-12/b.tgz.error")  # with LastModified in whole seconds it is as new as the progress
    world.poll()
    before = load_facts()

    def work() -> None:
        archive(world, Deadly(seaweed.bucket(status.name), at))

    connection.close()
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join(120)
    assert worker.exitcode == -signal.SIGKILL
    assert is_archived() is (at > 3)
    assert len(own_object_keys(world)) == 3 or is_archived()
    world.poll()
    assert load_facts() == before
    archive(world)
    assert is_archived()
    assert own_object_keys(world) == []
    world.poll()
    assert load_facts() == before


def test_locking_a_tail_does_not_lock_its_airline(world: PollingWorld) -> None:
    """Each writer of the feed needs the airline's row.

    A lock held while waiting for the feed would block all of them.
    """
    finished(world)
    with CaptureQueriesContext(connection) as queries:
        archive(world)
    locks = [each["sql"] for each in queries if 'FROM "fleet_tail"' in each["sql"] and "LIMIT 1" in each["sql"]]
    assert locks
    assert not [sql for sql in locks if "JOIN" in sql]
