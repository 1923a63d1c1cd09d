"""The status thread: newest value wins, throttled, in MiB, never a stale one last, and through an outage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from loader.contract.heartbeat import parse_heartbeat
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.reporting.outbox import Outbox
from loader.reporting.reporter import StatusReporter
from loader.s3.interface import ObjectInfo
from loader.s3.memory import MemoryBucket
from tests.support.portal_system import PATIENCE, wait_until
from tests.support.reporters import make_reporter

NOW = datetime(2026, 12, 15, tzinfo=UTC)


class Moody(MemoryBucket):
    """Records every write in order, and can be unreachable or refuse one key."""

    def __init__(self) -> None:
        super().__init__("ife-status")
        self.away = threading.Event()
        self.forbidden = ""
        self.unlisted = False
        self.writes: list[tuple[str, bytes | None]] = []
        self.tries = 0

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        self._check(key)
        self.writes.append((key, body))
        return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.unlisted:
            raise WorldError(Code.FORBIDDEN, f"LIST {prefix}: access denied")
        return super().list(prefix)

    def delete(self, key: str) -> None:
        self._check(key)
        self.writes.append((key, None))
        super().delete(key)

    def _check(self, key: str) -> None:
        self.tries += 1
        if self.away.is_set():
            raise WorldError(Code.NETWORK, "no route")
        if self.forbidden and self.forbidden in key:
            raise WorldError(Code.FORBIDDEN, "not yours")

    def of(self, ending: str) -> Sequence[bytes | None]:
        return [body for key, body in self.writes if key.endswith(ending)]


@pytest.fixture
def bucket() -> Moody:
    return Moody()


@pytest.fixture
def writer(bucket: Moody) -> Iterator[StatusReporter]:
    writer = make_reporter(bucket)
    writer.start()
    yield writer
    writer.close(0.1)


def test_progress_is_reported_in_whole_mib_and_the_size_at_the_end(bucket: Moody) -> None:
    writer = make_reporter(bucket, interval=0.001)
    writer.start()
    for done in range(0, 5 * MIB + 1, MIB // 4):
        writer.progress("c", "a", done, 5 * MIB)
        time.sleep(0.002)
    writer.progress("c", "a", 5 * MIB, 5 * MIB, final=True)
    assert writer.close(PATIENCE)
    reported = [int(body or b"") for body in bucket.of(".progress")]
    assert reported[0] == 0
    assert reported == sorted(set(reported))
    assert reported[-1] == 5 * MIB
    assert reported.count(5 * MIB) == 1
    assert all(value % MIB == 0 for value in reported)


def test_at_most_one_write_per_item_per_interval(bucket: Moody) -> None:
    writer = make_reporter(bucket, interval=0.2)
    writer.start()
    began = time.monotonic()
    done = 0
    while time.monotonic() - began < 1.0:
        done += MIB
        writer.progress("c", "a", done, 10**12)
        time.sleep(0.001)
    took = time.monotonic() - began
    assert writer.close(PATIENCE)
    assert len(bucket.of(".progress")) <= took / 0.2 + 2


def test_the_final_value_does_not_wait_for_the_interval(bucket: Moody) -> None:
    writer = make_reporter(bucket, interval=100 * PATIENCE)
    writer.start()
    writer.progress("c", "a", 0, 100)
    wait_until(lambda: bucket.of(".progress") == [b"0"])
    writer.progress("c", "a", 100, 100, final=True)
    wait_until(lambda: bucket.of(".progress")[-1] == b"100")
    writer.close(1)


def test_nothing_is_sent_twice(bucket: Moody, writer: StatusReporter) -> None:
    for _ in range(20):
        writer.progress("c", "a", 3 * MIB + 5, 10 * MIB)
        writer.clear_error("c", "a")
        time.sleep(0.01)
    assert writer.close(PATIENCE)
    assert bucket.of(".progress") == [b"3145728"]
    assert bucket.of(".error") == []


@pytest.mark.parametrize("may_list", [True, False])
def test_an_error_of_an_earlier_life_is_removed(bucket: Moody, may_list: bool) -> None:
    bucket.unlisted = not may_list
    bucket.put("ACME/N1/c/old.tgz.error", b"TIMEOUT: no answer")
    bucket.put("ACME/N1/c/old.tgz.progress", b"7")
    bucket.writes.clear()
    again = make_reporter(bucket)
    for content in ("old", "new"):
        again.progress("c", content, 7, 7, final=True)
        again.clear_error("c", content)
    again.start()
    assert again.close(PATIENCE)
    assert [key for key, body in bucket.writes if body is None and "old" in key] == ["ACME/N1/c/old.tgz.error"]
    # A reporter that may list the bucket does not repeat what is there already.
    keys = {key for key, _ in bucket.writes if not key.endswith("loader.json")}
    assert ("ACME/N1/c/old.tgz.progress" in keys, "ACME/N1/c/new.tgz.error" in keys) == (not may_list, not may_list)
    bucket.unlisted = False
    assert [found.key for found in bucket.list("ACME/N1/c/") if found.key.endswith(".error")] == []


def test_an_error_is_deleted_only_after_the_success_is_reported(bucket: Moody, writer: StatusReporter) -> None:
    writer.error("c", "a", Code.TIMEOUT, "no answer")
    wait_until(lambda: bucket.of(".error"))
    bucket.away.set()
    writer.clear_error("c", "a")
    writer.progress("c", "a", 7, 7, final=True)
    bucket.away.clear()
    assert writer.close(PATIENCE)
    assert [(key[-8:], body) for key, body in bucket.writes if "loader" not in key][-2:] == [
        ("progress", b"7"),
        ("gz.error", None),
    ]


def test_during_an_outage_only_the_newest_value_is_queued(bucket: Moody, writer: StatusReporter) -> None:
    bucket.away.set()
    for done in range(0, 50 * MIB, MIB):
        writer.progress("c", "a", done, 50 * MIB)
        time.sleep(0.002)
    assert bucket.of(".progress") == []
    bucket.away.clear()
    wait_until(lambda: bucket.of(".progress"))
    assert bucket.of(".progress") == [b"%d" % (49 * MIB)]


def test_a_bucket_that_is_away_is_not_asked_without_end(bucket: Moody, writer: StatusReporter) -> None:
    bucket.away.set()
    began = time.monotonic()
    for done in range(500):
        writer.progress("c", f"i{done % 50}", done * MIB, 10**12)
        writer.error("c", f"i{done % 50}", Code.NETWORK, str(done))
        time.sleep(0.002)
    assert time.monotonic() - began >= 1
    assert bucket.tries < 40


def test_a_key_that_may_not_be_written_does_not_hold_up_the_others(bucket: Moody, writer: StatusReporter) -> None:
    bucket.forbidden = "/bad.tgz"
    writer.progress("c", "bad", 1, 2)
    writer.progress("c", "good", 2, 2, final=True)
    wait_until(lambda: bucket.of("good.tgz.progress") == [b"2"])
    assert bucket.of("bad.tgz.progress") == []


def test_closing_gives_up_after_its_time(bucket: Moody, writer: StatusReporter) -> None:
    bucket.away.set()
    writer.progress("c", "a", 1, 2)
    assert not writer.close(0.3)  # otherwise it would wait forever


def test_a_heartbeat_is_sent_at_the_start_and_at_each_change(bucket: Moody, writer: StatusReporter) -> None:
    wait_until(lambda: len(bucket.of("loader.json")) == 1)
    writer.request_heartbeat()
    wait_until(lambda: len(bucket.of("loader.json")) == 2)
    assert parse_heartbeat(bucket.of("loader.json")[0] or b"").state == "idle"


def test_nothing_is_reported_after_a_clean_end(bucket: Moody, writer: StatusReporter) -> None:
    writer.progress("c", "a", 7, 7, final=True)
    writer.clear_error("c", "a")
    assert writer.close(PATIENCE)
    again = make_reporter(bucket)
    again.import_state(writer.export_state(NOW), NOW + timedelta(hours=1))
    bucket.writes.clear()
    again.start()
    again.progress("c", "a", 7, 7, final=True)
    again.clear_error("c", "a")
    assert again.close(PATIENCE)
    assert {key for key, _ in bucket.writes} == {"ACME/N1/loader.json"}


@pytest.mark.parametrize(
    "spoiled",
    [
        {},
        {"bucket": "another"},
        {"at": "yesterday"},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"known": "all"},
        {"heartbeat": None},
        {"heartbeat": "another"},
        {"at": (NOW - timedelta(days=2)).isoformat()},
        {"at": (NOW + timedelta(days=2)).isoformat()},
    ],
)
def test_a_record_that_is_old_or_odd_is_not_believed(bucket: Moody, spoiled: dict[str, object]) -> None:
    etag = bucket.put("ACME/N1/loader.json", b"the last one")
    known = {"ACME/N1/c/a.tgz.progress": "7"}
    record = {"at": NOW.isoformat(), "bucket": bucket.name, "heartbeat": etag, "known": known, **spoiled}
    writer = make_reporter(bucket)
    writer.import_state(record if spoiled else {}, NOW)
    writer.start()
    writer.progress("c", "a", 7, 7, final=True)
    assert writer.close(PATIENCE)
    assert bucket.of(".progress") == [b"7"]


def test_after_the_bucket_was_emptied_everything_is_reported_again(bucket: Moody, writer: StatusReporter) -> None:
    writer.progress("c", "a", 7, 7, final=True)
    assert writer.close(PATIENCE)
    record = writer.export_state(NOW)
    for found in list(bucket.list()):
        bucket.delete(found.key)
    again = make_reporter(bucket)
    again.import_state(record, NOW)
    again.progress("c", "a", 7, 7, final=True)
    bucket.writes.clear()
    again.start()
    assert again.close(PATIENCE)
    assert bucket.of(".progress") == [b"7"]


def test_closing_does_not_wait_for_what_is_refused(bucket: Moody, writer: StatusReporter) -> None:
    bucket.forbidden = "ACME"
    writer.progress("c", "a", 7, 7, final=True)
    began = time.monotonic()
    assert not writer.close(2 * PATIENCE)
    assert time.monotonic() - began < PATIENCE


def test_a_value_that_came_during_a_write_waits_for_its_turn() -> None:
    outbox = Outbox(10.0)
    outbox.post("k", b"1", 98.0)
    assert outbox.take(100.0) == ("k", b"1")
    outbox.post("k", b"2", 100.5)
    outbox.sent("k", b"1", 101.0)
    assert outbox.take(105.0) is None
    assert outbox.next_due(105.0) == 111.0
    assert outbox.take(111.0) == ("k", b"2")


@pytest.mark.parametrize(
    ("spelling", "sent"),
    [(str.lower, []), (str.upper, []), (lambda etag: f"{etag}-1", [b"1048576"])],
    ids=["MD5", "MD5 in capitals", "no MD5"],
)
def test_a_listed_report_is_recognised_only_where_the_store_lists_md5_sums(
    spelling: Callable[[str], str], sent: list[bytes]
) -> None:
    class Listing(Moody):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in super().list(prefix):
                # The heartbeat is the proof: the ETags of other objects may look like MD5 sums anywhere.
                yield replace(info, etag=spelling(info.etag)) if info.key.endswith("loader.json") else info

    bucket = Listing()
    bucket.put("ACME/N1/c/a.tgz.progress", b"1048576")
    bucket.writes.clear()
    again = make_reporter(bucket)
    again.progress("c", "a", MIB, 9 * MIB)
    again.start()
    assert again.close(PATIENCE)
    assert bucket.requests.list == 1
    assert bucket.of("a.tgz.progress") == sent
