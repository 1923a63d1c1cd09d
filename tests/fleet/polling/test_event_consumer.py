"""Objects named by events are fetched and written without a listing; failed messages remain in the queue."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from fleet.models import Anomaly, Load, Tail, Transfer
from fleet.polling import event_consumer
from fleet.polling.event_consumer import ConsumeResult, consume_events, events_are_flowing
from fleet.polling.poller import PollOptions
from fleet.polling.result import PollResult
from fleet.reconcile.limits import Limits
from ifeportal.models import Airline, Job
from ifeportal.work_lease import LeaseLost
from loader.errors import Code, WorldError
from loader.s3.interface import GetResult
from loader.s3.memory import MemoryBucket
from loader.s3.sqs import Message
from tests.support.event_queue import MemoryQueue, PushedWorld, event_message, row_facts
from tests.support.polling_world import MIB, load, rows, tail, transfer
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.django_db


@pytest.fixture
def pushed(db: None) -> PushedWorld:
    """A world with an airline that was polled once."""
    world = PushedWorld()
    world.manifest(items={"a": 4 * MIB, "b": 100})
    world.progress("N1/2026-12/a", 0)
    world.progress("N1/2026-12/b", 0)
    world.poll()
    world.take()
    world.later()
    return world


def quietly(world: PushedWorld) -> ConsumeResult:
    """Consume all messages and check that nothing was listed."""
    lists = world.status.requests.list, world.media.requests.list
    taken = world.take()
    assert (world.status.requests.list, world.media.requests.list) == lists
    assert taken.result.list_requests == 0
    return taken


def test_each_kind_of_report_becomes_rows_and_one_request(pushed: PushedWorld) -> None:
    pushed.progress("N1/2026-12/a", 4 * MIB)
    pushed.error("N1/2026-12/b", "NO_SPACE: full")
    pushed.write("N1/2026-12/campaign.json.error", b"BAD_MANIFEST: odd")
    pushed.write("N1/loader.json", b'{"schema":1,"loader":"1.2","at":"2026-12-01T12:00:00Z","state":"verifying"}')
    taken = quietly(pushed)
    assert (taken.messages, taken.keys, taken.unreadable, taken.result.get_requests) == (4, 4, 0, 4)
    assert (transfer("a").status, transfer("b").error_code, load().error_code) == (
        "complete",
        "NO_SPACE",
        "BAD_MANIFEST",
    )
    assert tail().loader_state == "verifying"
    assert not pushed.queue.messages
    pushed.remove("N1/2026-12/b.tgz.error")
    pushed.remove("N1/2026-12/campaign.json.error")
    quietly(pushed)
    assert (transfer("b").status, load().error_code) == ("pending", "")
    before = rows()
    assert pushed.poll().objects_changed == 0
    assert rows() == before, "a listing finds no change that events did not report"


def test_an_object_named_many_times_is_fetched_once(pushed: PushedWorld) -> None:
    for value in range(1, 8):
        pushed.progress("N1/2026-12/a", value)
    pushed.queue.put(event_message(*["ACME/N1/2026-12/a.tgz.progress"] * 3))
    taken = quietly(pushed)
    assert (taken.messages, taken.keys, taken.result.get_requests) == (8, 1, 1)
    assert transfer("a").bytes_done == 7


def test_new_tails_and_campaigns_come_by_event_too(pushed: PushedWorld) -> None:
    pushed.progress("N2/2027-01/x", 5)
    quietly(pushed)
    assert transfer("x", "N2", "2027-01").bytes_done == 5
    assert tail("N2").discovered


def test_an_airline_without_a_row_is_looked_for(pushed: PushedWorld) -> None:
    pushed.progress("BETA/N7/2026-12/x", 5)
    taken = pushed.take()
    assert transfer("x", "N7", airline="BETA").bytes_done == 5
    assert Airline.objects.get(name="BETA").discovered
    assert taken.result.failures == ()


def test_unknown_airlines_are_looked_up_within_bounds(pushed: PushedWorld) -> None:
    names = [f"ghost-{number}" for number in range(3 * event_consumer.UNKNOWN_AIRLINES_A_BATCH)]
    pushed.queue.put(event_message(*(f"{name}/N1/2026-12/a.tgz.progress" for name in names)))
    lists = pushed.status.requests.list
    taken = pushed.take()
    assert pushed.status.requests.list - lists == event_consumer.UNKNOWN_AIRLINES_A_BATCH
    assert (taken.messages, Airline.objects.count(), pushed.queue.messages) == (1, 1, {})


@pytest.mark.parametrize(
    "key",
    [
        "ACME/.archive/N1/2026-12.json.gz",
        "ACME/.fleet/N1.json",
        "ACME/N1/",
        "ACME/2026-12/campaign.json",
        "ACME/../N1/a.tgz.progress",
        "ACME//2026-12/a.tgz.progress",
        "ACME/N1/2026-12/a.tgz",
        "ACME/N1/2026-12/\n.tgz.progress",
        "ACME/N1/2026-12/\0.tgz.progress",
        " /N1/2026-12/a.tgz.progress",
        "x" * 2_000,
    ],
)
def test_events_of_objects_that_are_not_reports_are_ignored(pushed: PushedWorld, key: str) -> None:
    pushed.queue.put(event_message(key))
    before = rows()
    taken = quietly(pushed)
    assert (taken.messages, taken.keys, taken.result.get_requests) == (1, 0, 0)
    assert (rows(), pushed.queue.messages) == (before, {})


def test_invalid_names_in_events_are_reported_by_the_next_listing(pushed: PushedWorld) -> None:
    pushed.progress("N1/2026-12/-dash", 5)
    pushed.progress("N1/2026-12/a", 1)
    assert quietly(pushed).keys == 1
    assert not Anomaly.objects.exists()
    pushed.poll()
    assert Anomaly.objects.get().problem == "BAD_NAME"


def test_bodies_that_cannot_be_understood_are_odd_as_with_polling(pushed: PushedWorld) -> None:
    pushed.progress("N1/2026-12/a", b"1e6")
    pushed.progress("N1/2026-12/b", b"9" * 100)
    pushed.error("N1/2026-12/a", b"\xff\x00" * 5_000)
    quietly(pushed)
    assert sorted(Anomaly.objects.values_list("problem", flat=True)) == ["BAD_PROGRESS", "BAD_PROGRESS"]
    assert (transfer("a").unreadable, transfer("a").error_cut) == (True, True)
    before = row_facts()
    assert pushed.poll().objects_changed == 0
    assert row_facts() == before


def test_a_huge_object_is_read_no_further_than_it_may_say_something(pushed: PushedWorld) -> None:
    limits: list[int] = []
    get = pushed.status.get

    def noting(key: str, limit: int) -> GetResult | None:
        limits.append(limit)
        return get(key, limit)

    pushed.status.get = noting  # type: ignore[method-assign]
    pushed.progress("N1/2026-12/a", b"1" * 5_000_000)
    pushed.error("N1/2026-12/b", b"x" * 5_000_000)
    quietly(pushed)
    assert sorted(limits) == [64, 4096]


def test_invalid_messages_are_counted_logged_and_deleted(pushed: PushedWorld, caplog: pytest.LogCaptureFixture) -> None:
    for body in ("", "rubbish", "{}", "[" * 1000, json.dumps({"Records": [{"s3": 7}]})):
        pushed.queue.put(body)
    pushed.progress("N1/2026-12/a", 7)
    with caplog.at_level(logging.WARNING, "fleet.polling.event_consumer"):
        taken = quietly(pushed)
    assert (taken.messages, taken.unreadable, taken.keys) == (6, 5, 1)
    assert transfer("a").bytes_done == 7
    assert [record.message for record in caplog.records] == [
        "ignored 5 events, which the next listing covers; the first: line 1, column 1: not JSON (Expecting value)"
    ]
    assert not pushed.queue.messages


def test_an_event_that_comes_late_does_not_take_back_what_is_there_now(pushed: PushedWorld) -> None:
    pushed.remove("N1/2026-12/a.tgz.progress")
    removed = pushed.queue.receive(10)
    pushed.later()
    pushed.progress("N1/2026-12/a", 2 * MIB)
    quietly(pushed)
    pushed.queue.redeliver()
    assert [message.receipt_handle for message in removed] == list(pushed.queue.messages)
    before = rows()
    assert quietly(pushed).result.get_requests == 1
    assert rows() == before
    assert transfer("a").bytes_done == 2 * MIB


def test_an_object_deleted_before_its_event_arrives_is_marked_deleted(pushed: PushedWorld) -> None:
    pushed.error("N1/2026-12/a", "IO_ERROR: x")
    quietly(pushed)
    pushed.error("N1/2026-12/a", "IO_ERROR: y")
    pushed.status.delete("ACME/N1/2026-12/a.tgz.error")
    quietly(pushed)
    assert transfer("a").error_etag == ""
    pushed.queue.put(event_message("ACME/N9/2026-12/never.tgz.progress"))
    assert quietly(pushed).result.failures == ()
    assert not Tail.objects.filter(name="N9").exists()


class Killed(BaseException):
    """The process ends here."""


def test_a_message_of_a_killed_consumer_is_received_again_and_gives_the_same_rows(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(messages: object) -> None:
        raise Killed

    pushed.progress("N1/2026-12/a", 2 * MIB)
    pushed.error("N1/2026-12/b", "x")
    with monkeypatch.context() as patched:
        patched.setattr(pushed.queue, "delete", dies)
        with pytest.raises(Killed):
            pushed.take()
    assert transfer("a").bytes_done == 2 * MIB
    assert len(pushed.queue.messages) == 2
    before = rows()
    pushed.queue.redeliver()
    pushed.later()
    assert quietly(pushed).messages == 2
    assert rows() == before
    assert not pushed.queue.messages


def test_a_consumer_without_the_lease_writes_and_deletes_nothing(pushed: PushedWorld) -> None:
    def lost() -> None:
        raise LeaseLost

    pushed.progress("N1/2026-12/a", 2 * MIB)
    before = rows()
    for lease in (ScriptedLease(on_heartbeat=lost), ScriptedLease(on_check_fence=lost)):
        pushed.queue.redeliver()
        with pytest.raises(LeaseLost):
            consume_events(
                pushed.queue, pushed.media, pushed.status, lambda: pushed.clock, PollOptions(lease=lease), wait=0
            )
        assert rows() == before
        assert len(pushed.queue.messages) == 1


def test_a_database_that_is_away_costs_no_message(pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> PollResult:
        raise OperationalError("away")

    pushed.progress("N1/2026-12/a", 2 * MIB)
    with monkeypatch.context() as patched:
        patched.setattr("fleet.polling.event_consumer.poll_objects", away)
        with pytest.raises(OperationalError):
            pushed.take()
    pushed.queue.redeliver()
    quietly(pushed)
    assert transfer("a").bytes_done == 2 * MIB


class Failing(MemoryBucket):
    """A bucket that fails for keys starting with `broken`."""

    broken = ""

    def get(self, key: str, limit: int) -> GetResult | None:
        if self.broken and key.startswith(self.broken):
            self.requests.count("get")
            raise WorldError(Code.THROTTLED)
        return super().get(key, limit)


def test_messages_come_again_after_a_store_failure(db: None) -> None:
    pushed = PushedWorld()
    pushed.status = Failing("status", clock=lambda: pushed.clock)
    pushed.progress("ACME/N1/2026-12/a", 7)
    pushed.progress("BETA/N1/2026-12/a", 7)
    pushed.poll()
    pushed.take()
    pushed.progress("ACME/N1/2026-12/a", 8)
    pushed.progress("BETA/N1/2026-12/a", 8)
    pushed.status.broken = "ACME/"
    taken = pushed.take()
    assert [sentence.partition(":")[0] for sentence in taken.result.failures] == ["status bucket"]
    assert (transfer("a").bytes_done, transfer("a", airline="BETA").bytes_done) == (7, 8)
    assert ["ACME" in message.body for message in pushed.queue.messages.values()] == [True]
    pushed.status.broken = ""
    pushed.queue.redeliver()
    assert pushed.take().result.failures == ()
    assert transfer("a").bytes_done == 8
    assert not pushed.queue.messages


def test_a_message_that_can_never_be_written_does_not_come_for_ever(pushed: PushedWorld) -> None:
    pushed.status.put("ACME/N1/2026-12/a.tgz.progress", b"7")
    pushed.queue.put(event_message("ACME/N1/2026-12/a.tgz.progress"), received=event_consumer.MAXIMUM_ATTEMPTS)
    taken = quietly(pushed)
    assert (taken.unreadable, taken.keys, pushed.queue.messages) == (1, 0, {})
    assert transfer("a").bytes_done == 0


def test_a_slice_takes_batch_after_batch_until_its_time_is_over(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_consumer, "MESSAGES_A_BATCH", 2)
    for number in range(5):
        pushed.progress(f"N1/2026-12/c{number}", 7)
    taken = consume_events(pushed.queue, pushed.media, pushed.status, lambda: pushed.clock, seconds=0, wait=0)
    assert taken.messages == 2
    assert quietly(pushed).messages == 3


def test_one_message_with_many_keys_is_written_before_the_next_is_read(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_consumer, "KEYS_A_BATCH", 3)
    for number in range(8):
        pushed.status.put(f"ACME/N1/2026-12/c{number}.tgz.progress", b"7")
    names = [f"ACME/N1/2026-12/c{number}.tgz.progress" for number in range(8)]
    for some in (names[:4], names[4:8]):
        pushed.queue.put(event_message(*some))
    taken = consume_events(pushed.queue, pushed.media, pushed.status, lambda: pushed.clock, seconds=0, wait=0)
    assert (taken.keys, len(pushed.queue.messages)) == (4, 1)


class AwayQueue(MemoryQueue):
    """An unreachable queue."""

    def receive(self, limit: int, wait: int = 0) -> list[Message]:
        raise WorldError(Code.TIMEOUT, "receiving events failed (ReadTimeoutError)")


def test_an_unreachable_queue_is_in_the_result_and_costs_no_row(pushed: PushedWorld) -> None:
    pushed.progress("N1/2026-12/a", 7)
    pushed.queue = AwayQueue()
    taken = pushed.take()
    assert taken.result.failures == ("event queue: TIMEOUT: receiving events failed (ReadTimeoutError)",)
    pushed.poll()
    assert transfer("a").bytes_done == 7


def test_names_that_conflict_and_rows_beyond_the_limits_are_as_with_polling(pushed: PushedWorld) -> None:
    pushed.limits = Limits(tails=1, objects=2)
    pushed.progress("n1/2026-12/a", 7)
    pushed.progress("N2/2026-12/a", 7)
    pushed.progress("N1/2026-12/c", 7)
    quietly(pushed)
    assert (Tail.objects.count(), Load.objects.count(), Transfer.objects.count()) == (1, 1, 2)
    assert set(Anomaly.objects.values_list("problem", flat=True)) == {
        "NAME_CONFLICT",
        "TOO_MANY_TAILS",
        "TOO_MANY_OBJECTS",
    }


@pytest.mark.parametrize(
    ("succeeded", "failures", "event_at", "listing_at", "arrive"),
    [
        (5, 0, 5, None, True),
        (5, 0, None, None, True),
        (90, 0, 5, None, False),
        (5, 1, 5, None, False),
        (5, 0, 300, 290, True),
        (5, 0, 300, 100, False),
        (5, 0, None, 100, False),
        (None, 0, None, None, False),
    ],
)
def test_events_are_relied_on_only_while_they_match_listings(
    db: None, succeeded: int | None, failures: int, event_at: int | None, listing_at: int | None, arrive: bool
) -> None:
    now = timezone.now()

    def ago(seconds: int | None) -> datetime | None:
        return None if seconds is None else now - timedelta(seconds=seconds)

    assert not events_are_flowing("events", None, now)
    Job.objects.create(
        name="events", due_at=now, succeeded_at=ago(succeeded), failures=failures, found_at=ago(event_at)
    )
    assert events_are_flowing("events", ago(listing_at), now) is arrive


def test_a_message_that_was_not_written_in_time_is_delivered_again(
    pushed: PushedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.polling.batches.TAILS_A_BATCH", 1)
    for name in ("N1", "N2"):
        pushed.progress(f"{name}/2026-12/a", MIB)
    no_time = PollOptions(seconds=0.0)
    taken = consume_events(pushed.queue, pushed.media, pushed.status, lambda: pushed.clock, no_time, wait=0)
    assert taken.result.failures == ()
    assert [row.load.tail.name for row in Transfer.objects.filter(bytes_done=MIB)] == ["N2"], "seen least recently"
    assert len(pushed.queue.messages) == 2
    pushed.queue.redeliver()
    quietly(pushed)
    assert Transfer.objects.filter(bytes_done=MIB).count() == 2
    assert not pushed.queue.messages
