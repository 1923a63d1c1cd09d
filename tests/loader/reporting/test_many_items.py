"""Requests of thousands of items over the ground link, and reports after an outage, counted on the wire."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from fleet.simulation.faults import ErrorResponse, Reset, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.reporting.outbox import BURST, RATE, Outbox
from loader.reporting.sender import MAX_HELPERS
from loader.s3.client import S3Bucket
from loader.s3.memory import MemoryBucket
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.portal_system import PATIENCE, wait_until
from tests.support.reporters import make_reporter

# The outbox alone, with its own clock.


def drain(outbox: Outbox, now: float) -> list[tuple[str, bytes | None]]:
    """Return every write that may be sent now; each arrives at once."""
    sent = []
    while letter := outbox.take(now):
        outbox.sent(*letter, now)
        sent.append(letter)
    return sent


def key(item: str, kind: str = "progress") -> str:
    return f"ACME/N1/c/{item}.tgz.{kind}"


def test_reports_of_all_items_are_limited_per_second() -> None:
    outbox = Outbox(2.0)
    for at in range(2000):
        outbox.post(key(str(at)), b"1", 0.0, urgent=True)
    by_second = [len(drain(outbox, tick / 10)) for tick in range(201)]
    assert by_second[0] == BURST
    assert RATE * 20 - 1 <= sum(by_second[1:]) <= RATE * 20
    assert max(by_second[1:]) <= RATE / 10 + 1


def test_at_the_end_the_cap_is_lifted() -> None:
    outbox = Outbox(2.0)
    for at in range(2000):
        outbox.post(key(str(at)), b"0", 0.0)
    outbox.flush_now()
    assert len(drain(outbox, 0.0)) == 2000
    assert not outbox


def test_when_something_may_leave_is_known_beforehand() -> None:
    outbox = Outbox(2.0, rate=10, burst=1)
    assert outbox.next_due(0.0) is None
    outbox.post(key("a"), b"1", 0.0, urgent=True)
    outbox.post(key("b"), b"1", 0.0, urgent=True)
    assert outbox.next_due(0.0) == 0.0
    assert outbox.take(0.0) is not None
    due = outbox.next_due(0.0)
    assert due is not None
    assert due == pytest.approx(0.1, abs=0.001)
    assert outbox.take(0.05) is None
    assert outbox.take(due) is not None


def test_errors_and_completions_go_first_and_beginnings_and_tidying_last() -> None:
    outbox = Outbox(2.0)
    outbox.known[key("was bad", "error")] = b"TIMEOUT: no answer\n"
    outbox.post(key("moving"), b"0", 0.0)
    outbox.post(key("moving"), b"%d" % MIB, 0.1)
    outbox.post(key("new"), b"0", 0.0)
    outbox.post(key("newer"), b"0", 0.0)
    outbox.post(key("never bad", "error"), None, 0.0, urgent=True)
    outbox.post(key("was bad", "error"), None, 0.0, urgent=True)
    outbox.post(key("bad", "error"), b"TIMEOUT: no answer\n", 0.0, urgent=True)
    outbox.post(key("done"), b"7", 0.0, urgent=True)
    order = [sent.removeprefix("ACME/N1/c/") for sent, _ in drain(outbox, 5.0)]
    assert order == [
        "bad.tgz.error",
        "done.tgz.progress",
        "was bad.tgz.error",
        "moving.tgz.progress",
        "newer.tgz.progress",
        "new.tgz.progress",
        "never bad.tgz.error",
    ] or order[2:4] == ["moving.tgz.progress", "was bad.tgz.error"]


def test_of_one_item_nothing_leaves_while_something_is_under_way() -> None:
    outbox = Outbox(2.0)
    outbox.post(key("a", "error"), None, 0.0, urgent=True)
    outbox.post(key("a"), b"7", 0.0, urgent=True)
    assert outbox.take(1.0) == (key("a"), b"7")
    assert outbox.take(1.0) is None
    outbox.post(key("a"), b"0", 1.1)
    assert outbox.in_flight == 1
    outbox.sent(key("a"), b"7", 1.2)
    assert outbox.take(1.2) == (key("a", "error"), None)
    assert outbox.take(9.0) is None
    outbox.sent(key("a", "error"), None, 9.0)
    assert outbox.take(9.0) == (key("a"), b"0")


def test_an_outdated_start_is_never_reported() -> None:
    outbox = Outbox(2.0)
    for at in range(200):
        outbox.post(key(str(at)), b"0", 0.0)
    sent = []
    for at in range(200):
        now = at / 200
        outbox.post(key(str(at)), b"9", now, urgent=True)
        sent += drain(outbox, now)
    sent += drain(outbox, 100.0)
    assert [body for _, body in sent] == [b"9"] * 200


# The reporter with a store over a slow link.


@contextmanager
def over(seaweed: SeaweedFS, status: S3Bucket, latency: float) -> Iterator[tuple[FaultProxy, S3Bucket]]:
    with FaultProxy(seaweed.endpoint, latency=latency) as link:
        keys = seaweed.environment()
        far = S3Bucket(
            status.name,
            endpoint=link.endpoint,
            access_key=keys["AWS_ACCESS_KEY_ID"],
            secret_key=keys["AWS_SECRET_ACCESS_KEY"],
        )
        yield link, far


@pytest.mark.processes
def test_two_hundred_small_items_cost_two_hundred_writes(seaweed: SeaweedFS, status: S3Bucket) -> None:
    with over(seaweed, status, 0.0) as (link, far):
        writer = make_reporter(far, interval=2.0)
        for at in range(200):
            writer.progress("c", f"i{at}", 0, MIB)
        for at in range(200):
            writer.progress("c", f"i{at}", MIB, MIB, final=True)
        writer.start()
        assert writer.close(PATIENCE)
        puts = link.requests("PUT", "*.progress")
    assert len({request.path for request in puts}) == len(puts) == 200
    assert {request.body for request in puts} == {b"%d" % MIB}


class Slow(MemoryBucket):
    """A distant store: every write takes a while. Records which ones overlap."""

    def __init__(self) -> None:
        super().__init__("ife-status")
        self.at_once, self.most, self.overlaps = Counter[str](), 0, 0
        self.beside_the_heartbeat = 0
        self.written: list[tuple[str, bytes | None]] = []
        self._guard = threading.Lock()

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        with self._under_way(key):
            self.written.append((key, body))
            return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    def delete(self, key: str) -> None:
        with self._under_way(key):
            self.written.append((key, None))
            super().delete(key)

    @contextmanager
    def _under_way(self, key: str) -> Iterator[None]:
        item = key.rpartition(".")[0]
        with self._guard:
            self.at_once[item] += 1
            self.overlaps += self.at_once[item] > 1
            under_way = sum(self.at_once.values())
            self.most = max(self.most, under_way)
            self.beside_the_heartbeat += under_way > 1 and self.at_once["ACME/N1/loader"] > 0
        time.sleep(0.03)  # the round trip
        yield
        with self._guard:
            self.at_once[item] -= 1


def test_helpers_write_side_by_side_but_never_two_values_of_one_item_nor_beside_the_heartbeat() -> None:
    bucket = Slow()
    writer = make_reporter(bucket, interval=0.01)
    writer.start()
    for turn in range(5):
        for at in range(40):
            writer.error("c", f"i{at}", Code.TIMEOUT, f"no answer {turn}")
            writer.progress("c", f"i{at}", turn * MIB, 10 * MIB)
        writer.request_heartbeat()
        time.sleep(0.05)
    for at in range(40):
        writer.clear_error("c", f"i{at}")
        writer.progress("c", f"i{at}", 10 * MIB, 10 * MIB, final=True)
    assert writer.close(PATIENCE)
    assert 1 < bucket.most <= MAX_HELPERS + 1
    assert bucket.overlaps == 0
    assert bucket.beside_the_heartbeat == 0
    assert bucket.written[-1][0] == "ACME/N1/loader.json"
    for at in range(40):
        of_item = [(key[-5:], body) for key, body in bucket.written if f"/i{at}.tgz" in key]
        done = of_item.index(("gress", b"%d" % (10 * MIB)))
        assert of_item[done + 1 :] in ([], [("error", None)])
    assert [found.key for found in bucket.list() if found.key.endswith(".error")] == []


@pytest.mark.processes
def test_ten_thousand_beginnings_over_a_long_link_need_no_round_trip_each(seaweed: SeaweedFS, status: S3Bucket) -> None:
    with over(seaweed, status, 0.08) as (link, far):
        writer = make_reporter(far, interval=2.0)
        for at in range(10_000):
            writer.progress("c", f"i{at}", 0, MIB)
        writer.start()
        wait_until(lambda: len(link.requests("PUT", "*.progress")) >= 150)
        # One by one, it would have been 12.5 per second; and a complete item is reported before the others.
        writer.progress("c", "i0", MIB, MIB, final=True)
        wait_until(lambda: link.requests("PUT", "*/i0.tgz.progress"))
        before = len(link.requests("PUT", "*.progress"))
        writer.close(0.5)
        reported = Counter(request.path for request in link.requests("PUT", "*.progress"))
    assert max(reported.values()) == 1
    assert before < 2000
    assert [request.body for request in link.requests("PUT", "*/i0.tgz.progress")] == [b"%d" % MIB]


# Outages.


@pytest.mark.processes
def test_after_an_outage_the_newest_values_go_out_and_nothing_stale_comes_last(
    seaweed: SeaweedFS, status: S3Bucket
) -> None:
    with over(seaweed, status, 0.01) as (link, far):
        writer = make_reporter(far)
        writer.start()
        for at in range(20):
            writer.progress("c", f"i{at}", MIB, 100 * MIB)
        wait_until(
            lambda: len([request for request in link.requests("PUT", "*.progress") if request.status == 200]) == 20
        )
        away = link.add(Rule(ErrorResponse(503, "SlowDown"), method="PUT", times=None))
        for turn in range(2, 60):
            for at in range(20):
                writer.progress("c", f"i{at}", turn * MIB, 100 * MIB)
        wait_until(lambda: away.hits)
        for at in range(20):
            writer.error("c", f"i{at}", Code.NETWORK, "no route")
            writer.progress("c", f"i{at}", 60 * MIB, 100 * MIB)
        refused = len(link.log)
        link.rules.clear()
        writer.link_restored()
        assert writer.close(PATIENCE)
        after = link.log[refused:]
    for at in range(20):
        bodies = [request.body for request in link.requests("PUT", f"*/i{at}.tgz.progress") if request.status == 200]
        assert [int(body) for body in bodies] == sorted(int(body) for body in bodies)
        assert bodies[-1] == b"%d" % (60 * MIB)
        fetched = status.get(f"ACME/N1/c/i{at}.tgz.progress", 64)
        assert fetched is not None
        assert fetched.body == b"%d" % (60 * MIB)
    assert len([request for request in after if request.path.endswith(".progress")]) <= 2 * 20


def test_while_the_link_is_down_nothing_is_tried_and_then_everything_at_once() -> None:
    bucket, up = Slow(), threading.Event()
    writer = make_reporter(bucket, link_up=up.is_set)
    writer.start()
    for turn in range(50):
        writer.progress("c", "a", turn * MIB, 100 * MIB)
    assert bucket.written == []
    up.set()
    writer.link_restored()
    wait_until(lambda: (key("a"), b"%d" % (49 * MIB)) in bucket.written)
    assert [body for reported, body in bucket.written if reported == key("a")] == [b"%d" % (49 * MIB)]
    up.clear()
    writer.progress("c", "a", 100 * MIB, 100 * MIB, final=True)
    assert not writer.close(PATIENCE)
    assert bucket.written[-1] != (key("a"), b"%d" % (100 * MIB))


def test_an_error_of_one_key_does_not_block_the_others() -> None:
    class Odd(Slow):
        def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
            if "/odd." in key:
                raise RuntimeError("nobody thought of that")
            return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    bucket = Odd()
    writer = make_reporter(bucket)
    writer.start()
    writer.progress("c", "odd", 1, 1, final=True)
    writer.progress("c", "good", 1, 1, final=True)
    wait_until(lambda: (key("good"), b"1") in bucket.written)
    assert not writer.close(2)


@pytest.mark.processes
def test_content_loads_while_the_status_bucket_is_down_and_is_reported_later(
    aircraft: Aircraft, link: FaultProxy
) -> None:
    bodies = {f"i{at}": bytes([at]) * 300_000 for at in range(5)}
    publish(aircraft.media, "c", bodies)
    away = link.add(Rule(ErrorResponse(503, "SlowDown"), method="PUT", times=None))
    deleting = link.add(Rule(ErrorResponse(503, "SlowDown"), method="DELETE", times=None))
    process = aircraft.start()
    wait_until(lambda: all(aircraft.path("c", name).exists() for name in bodies))
    assert aircraft.reports() == {}
    assert away.hits
    link.rules.clear()
    wait_until(lambda: aircraft.progress("c") == {name: len(body) for name, body in bodies.items()})
    process.terminate()
    assert wait_for_exit(process).code == 75
    assert deleting.hits == 0  # nothing is sent before the heartbeat arrived
    reported = [request for request in link.requests("PUT", "*.progress") if request.status == 200]
    assert Counter(request.path for request in reported).most_common(1)[0][1] == 1
    assert aircraft.errors() == {}


@pytest.mark.processes
def test_an_unavailable_media_bucket_is_reported_and_progress_is_preserved(
    aircraft: Aircraft, link: FaultProxy
) -> None:
    body = bytes(3 * MIB)
    publish(aircraft.media, "c", {"a": body})
    link.bandwidth = 1_000_000
    process = aircraft.start(LOADER_TRIES="3", LOADER_POLL_INTERVAL="100ms")
    wait_until(lambda: link.requests("PUT", "*/a.tgz.progress")[1:])
    link.bandwidth = 20_000  # it does not end
    wait_until(lambda: aircraft.progress("c").get("a", 0) >= MIB)
    down = link.add(Rule(Reset(), method="*", key=f"{aircraft.media.name}/*", times=None))
    link.offline()
    link.online()
    wait_until(lambda: "a" in aircraft.errors())
    assert down.hits
    assert aircraft.errors()["a"].startswith("NETWORK: ")
    assert MIB <= aircraft.progress("c")["a"] < len(body)
    link.rules.clear()
    link.bandwidth = None
    wait_until(lambda: aircraft.progress("c")["a"] == len(body))
    wait_until(lambda: aircraft.errors() == {})
    process.terminate()
    assert wait_for_exit(process).code == 75


def test_a_store_in_trouble_is_asked_by_one_alone() -> None:
    class Away(Slow):
        away = False
        tries = 0

        def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
            if self.away:
                self.tries += 1
                with self._under_way(key):
                    raise WorldError(Code.NETWORK, "no route")
            return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    bucket = Away()
    writer = make_reporter(bucket)
    writer.start()
    for at in range(60):
        writer.progress("c", f"i{at}", 1, 1, final=True)
    wait_until(lambda: len(bucket.written) > 20)
    bucket.away = True
    wait_until(lambda: writer._sender.backoff.failures >= 2)
    tries = bucket.tries
    # All writes in flight when the store fails count as one failure; the next count one by one, the last maybe not yet.
    assert tries <= MAX_HELPERS + writer._sender.backoff.failures + 1
    writer.close(0.1)


def test_a_write_that_began_before_a_failure_does_not_end_the_pause_after_it() -> None:
    class Mixed(Slow):
        began, failed, go_on = threading.Event(), threading.Event(), threading.Event()

        def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
            if key.endswith("early.tgz.progress"):
                self.began.set()
                assert self.go_on.wait(PATIENCE)
            elif key.endswith("late.tgz.progress"):
                assert self.began.wait(PATIENCE)
                self.failed.set()
                raise WorldError(Code.NETWORK, "no route")
            return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    bucket = Mixed()
    writer = make_reporter(bucket)
    writer.start()
    for name in ("first", "early", "late"):
        writer.progress("c", name, 1, 1, final=True)
        wait_until(lambda: len(bucket.written) > 1)  # a slow write, after which others may start at once
    assert bucket.failed.wait(PATIENCE)
    wait_until(lambda: writer._sender.backoff.failures > 0)
    before = writer._sender.backoff.failures
    bucket.go_on.set()
    wait_until(lambda: "early" in {key.rpartition("/")[2].split(".")[0] for key, _ in bucket.written})
    wait_until(lambda: not writer._sender._outbox.in_flight)
    assert writer._sender.backoff.failures >= before
    writer.close(0.1)


NOW = datetime(2026, 12, 15, tzinfo=UTC)


def test_the_record_has_the_reports_of_helpers() -> None:
    bucket = Slow()
    writer = make_reporter(bucket)
    writer.start()
    for at in range(30):
        writer.progress("c", f"i{at}", 1, 1, final=True)
    assert writer.close(PATIENCE)
    known = writer.export_state(NOW)["known"]
    assert isinstance(known, dict)
    assert known == {key(f"i{at}"): "1" for at in range(30)}
