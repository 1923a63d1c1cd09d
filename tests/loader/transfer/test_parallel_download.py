"""One item over several connections: when, in which ranges, what is stored, and which failures lose nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.simulation.faults import ReplaceMidway, Rule
from fleet.simulation.proxy import FaultProxy, RecordedRequest
from loader.contract.manifest import Item
from loader.contract.units import MIB
from loader.errors import Code, Stopped, WorldError
from loader.storage.byte_ranges import union
from tests.support.aircraft import Aircraft, finish, publish
from tests.support.parallel_bucket import CONTENT, KEY, Asked, Gated, Hangar
from tests.support.portal_system import PATIENCE, until


@pytest.fixture
def hangar(tmp_path: Path) -> Iterator[Hangar]:
    hangar = Hangar(tmp_path)
    yield hangar
    hangar.store.close()


def fails(hangar: Hangar) -> str:
    with pytest.raises(WorldError) as failed:
        hangar.run()
    assert not hangar.final.exists()
    return failed.value.code


def test_ranges_are_disjoint_and_all_of_the_object_asked_for_first(hangar: Hangar) -> None:
    hangar.bucket.gate_at = 5
    hangar.succeeds()
    first, *ranges = hangar.bucket.asked
    assert (first.start, first.end, first.if_match) == (0, None, None)
    assert len(ranges) >= 4
    etag = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert {asked.if_match for asked in ranges} == {etag}
    assert union((asked.start, asked.end or 0) for asked in ranges)[-1][1] == len(CONTENT)
    assert hangar.ledger.kept[-1] == len(CONTENT)
    assert hangar.ledger.kept == sorted(hangar.ledger.kept)


def test_a_range_that_breaks_disturbs_no_other_and_only_its_rest_is_asked_for_again(hangar: Hangar) -> None:
    hangar.bucket.gate_at = 5
    hangar.bucket.script[3] = lambda asked: hangar.bucket.send(asked, breaks=1000)
    hangar.succeeds()
    broken = hangar.bucket.asked[2]
    assert broken.start + 1000 in [asked.start for asked in hangar.bucket.asked]
    assert hangar.ledger.retries == ["NETWORK"]
    assert hangar.streams.refusals == 0


def refuse(code: Code) -> object:
    def act(asked: Asked) -> Gated:
        raise WorldError(code)

    return act


@pytest.mark.parametrize("code", [Code.THROTTLED, Code.NETWORK])
def test_a_store_that_refuses_further_connections_gets_fewer(hangar: Hangar, code: Code) -> None:
    hangar.bucket.gate_at = 6  # the others wait until the refused one is replaced
    hangar.bucket.script[4] = refuse(code)  # type: ignore[assignment]
    hangar.succeeds()
    assert hangar.ledger.retries == [code]
    assert hangar.streams.refusals == 1


def test_an_outage_costs_all_connections_together_a_bounded_number_of_requests(hangar: Hangar) -> None:
    for number in range(2, 100):
        hangar.bucket.script[number] = refuse(Code.TIMEOUT)  # type: ignore[assignment]
    assert fails(hangar) == "TIMEOUT"
    assert len(hangar.bucket.asked) <= 1 + 4 * hangar.share
    assert 0 < hangar.kept == hangar.bucket.sent < len(CONTENT)


def test_time_without_a_link_is_not_held_against_an_item(hangar: Hangar) -> None:
    waits: list[bool] = []

    def await_link(stop: threading.Event) -> bool:
        waits.append(True)
        return True

    hangar.await_link = await_link
    for number in range(1, 30):
        hangar.bucket.script[number] = refuse(Code.NETWORK)  # type: ignore[assignment]
    hangar.succeeds()
    assert len(waits) == 29
    assert hangar.ledger.retries == []


def test_an_object_replaced_midway_starts_anew_over_one_connection(hangar: Hangar) -> None:
    other = bytes(len(CONTENT))
    hangar.item = Item("movie", len(other), hashlib.sha256(other).hexdigest())

    def swap(asked: Asked) -> Gated:
        body = hangar.bucket.send(asked)
        hangar.bucket.put(KEY, other)
        return body

    hangar.bucket.script[2] = swap
    hangar.run()
    assert hangar.final.read_bytes() == other
    assert 0 in hangar.ledger.kept
    assert [asked.start for asked in hangar.bucket.asked if asked.if_match is None] == [0, 0]


def test_an_object_replaced_midway_that_the_manifest_does_not_know_is_no_item(hangar: Hangar) -> None:
    hangar.ledger.wanted = False

    def swap(asked: Asked) -> Gated:
        hangar.bucket.put(KEY, b"x" * len(CONTENT))
        raise WorldError(Code.OBJECT_CHANGED)

    hangar.bucket.script[3] = swap
    assert fails(hangar) == "OBJECT_CHANGED"
    assert hangar.kept == 0


def test_a_store_that_ignores_ranges_is_begun_anew_over_one_connection(hangar: Hangar) -> None:
    hangar.bucket.script[2] = lambda asked: hangar.bucket.send(Asked(asked.number, 0, None, asked.if_match))
    hangar.succeeds()
    assert [asked for asked in hangar.bucket.asked if asked.start == 0][-1].end is None
    assert hangar.bucket.asked[-1].start == 0


def test_a_range_from_another_place_is_never_kept(hangar: Hangar) -> None:
    def elsewhere(asked: Asked) -> Gated:
        return hangar.bucket.send(Asked(asked.number, asked.start + 5, asked.end, asked.if_match))

    hangar.bucket.script[2] = elsewhere
    hangar.succeeds()


def test_a_longer_object_under_the_same_etag_is_a_size_mismatch(hangar: Hangar) -> None:
    def longer(asked: Asked) -> Gated:
        body = hangar.bucket.send(asked)
        body.size = len(CONTENT) + 1
        return body

    hangar.bucket.script[2] = longer
    hangar.succeeds()
    assert hangar.ledger.kept.count(0) >= 1
    assert hangar.ledger.retries == ["SIZE_MISMATCH"]


def test_too_slow_is_said_of_the_item_not_of_a_connection(hangar: Hangar) -> None:
    hangar.min_rate, hangar.bucket.gate_at = 1, 10**6
    assert fails(hangar) == "TOO_SLOW"


def interrupt(hangar: Hangar) -> None:
    """Stop the download while four connections wait for bytes and two have data beyond a gap."""
    never, waiting = threading.Event(), set[int]()

    def part_of(count: int) -> object:
        def act(asked: Asked) -> Gated:
            body = hangar.bucket.send(asked)
            whole = body.read

            def read(limit: int = MIB) -> bytes:
                if body.sent < count:
                    return whole(min(limit, count - body.sent))
                body.gate = never
                waiting.add(asked.number)
                if len(waiting) == 4:
                    hangar.stop.set()
                return whole(limit)

            body.read = read  # type: ignore[method-assign]
            return body

        return act

    for number, count in ((2, 0), (3, 100_000), (4, 0), (5, 50_000)):
        hangar.bucket.script[number] = part_of(count)  # type: ignore[assignment]
    with pytest.raises(Stopped):
        hangar.run()


def go_on(hangar: Hangar) -> None:
    hangar.stop.clear()
    hangar.ledger.kept.clear()


def test_one_connection_that_goes_on_after_several_failed_loses_nothing_by_a_kill(hangar: Hangar) -> None:
    believed: list[int] = []
    one_at_most = threading.Event()

    def fails_in_turn(asked: Asked) -> Gated:
        if asked.start > hangar.bucket.bodies[0].sent:
            assert one_at_most.wait(PATIENCE)
            raise WorldError(Code.NETWORK)
        # The connection at the contiguous end fails last: the other failure is known, and none replaces it.
        hangar.streams.allowed = 1
        one_at_most.set()
        body = hangar.bucket.send(asked, breaks=1000)
        read = body.read

        def after_the_other(limit: int = MIB) -> bytes:
            until(lambda: hangar.ledger.retries)
            return read(limit)

        body.read = after_the_other  # type: ignore[method-assign]
        return body

    def last(asked: Asked) -> Gated:
        body = hangar.bucket.send(asked)
        read = body.read

        def watched(limit: int = MIB) -> bytes:
            deadline = time.monotonic() + PATIENCE
            while body.sent >= 6 * MIB and not believed and time.monotonic() < deadline:
                if hangar.kept >= asked.start + 4 * MIB:  # where a loader would resume after a kill now
                    believed.append(hangar.kept)
            return read(min(limit, MIB))

        body.read = watched  # type: ignore[method-assign]
        return body

    hangar.share = hangar.streams.allowed = 2
    hangar.bucket.gate_at = 3
    hangar.bucket.script |= {2: fails_in_turn, 3: fails_in_turn, 4: last}
    hangar.succeeds()
    assert hangar.ledger.retries == ["NETWORK"] * 2
    assert hangar.bucket.asked[3].end is None
    assert believed


@pytest.mark.parametrize("share", [1, 4])
def test_a_stop_keeps_what_lies_beyond_a_gap_whoever_goes_on(hangar: Hangar, share: int) -> None:
    interrupt(hangar)
    kept = hangar.kept
    assert kept == hangar.bucket.sent == hangar.ledger.kept[-1]
    assert hangar.bucket.bodies[0].sent + 150_000 == kept
    go_on(hangar)
    hangar.streams.allowed = share
    hangar.succeeds()
    assert hangar.bucket.sent == len(CONTENT)
    assert min(hangar.ledger.kept) >= kept


def part_file(hangar: Hangar) -> Path:
    return hangar.folder / ".loader" / "parts" / "c" / "movie.tgz.part"


@pytest.mark.parametrize("boot", ["another", "torn", "longer"])
def test_a_map_of_another_boot_or_a_torn_one_is_not_believed(hangar: Hangar, boot: str) -> None:
    interrupt(hangar)
    file = part_file(hangar).with_suffix(".json")
    state = json.loads(file.read_text())
    assert len(state["extents"]) >= 2
    if boot == "another":
        state |= {"boot": "another", "durable": 1000}
        file.write_text(json.dumps(state))
        assert hangar.kept == 1000
    elif boot == "torn":
        file.write_text(file.read_text()[:-20])
        assert hangar.kept == 0
    else:
        # The file is longer than the recorded extents: the rest was not written, or not recorded in time.
        os.truncate(part_file(hangar), len(CONTENT))
        assert hangar.kept == sum(end - start for start, end in state["extents"])
    go_on(hangar)
    hangar.succeeds()


# The real command.

BODY = os.urandom(5_000_000)
SLOW = 300_000  # bytes per second of each connection
OVERLAP = 600_000  # bytes: a connection that loses half of its range may have been sent some of it


def requests(link: FaultProxy) -> list[RecordedRequest]:
    return link.requests("GET", "*/big.tgz")


@pytest.fixture
def slow(aircraft: Aircraft, link: FaultProxy) -> FaultProxy:
    """A link over which one connection would take a quarter of a minute."""
    publish(aircraft.media, "c", {"big": BODY})
    link.per_connection = SLOW
    return link


@pytest.mark.processes
def test_more_connections_are_used_where_each_is_slow(aircraft: Aircraft, slow: FaultProxy) -> None:
    assert aircraft.load().code == 0
    assert aircraft.path("c", "big").read_bytes() == BODY
    first, *ranges = requests(slow)
    assert first.range == ""
    assert len(ranges) >= 4
    assert all(seen.if_match and seen.range for seen in ranges)
    assert aircraft.progress("c") == {"big": len(BODY)}
    assert aircraft.left_over() == []


@pytest.mark.processes
def test_one_connection_is_used_where_it_is_fast(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {"big": BODY[: 5 * SLOW]})  # over a slow link it would be worth more
    assert aircraft.load().code == 0
    assert [seen.range for seen in requests(link)] == [""]


def noted(aircraft: Aircraft) -> list[tuple[int, int]]:
    """Return the bytes recorded in the state on disk."""
    state = aircraft.part("c", "big").with_suffix(".json")
    told = json.loads(state.read_text()).get("extents") if state.exists() else None
    return [(start, end) for start, end in told or []]


def await_gap(aircraft: Aircraft, process: subprocess.Popen[str]) -> None:
    """Wait until the state on disk has bytes beyond a gap."""

    def there_is_one() -> bool:
        assert process.poll() is None
        extents = noted(aircraft)
        return len(extents) > 1 and extents[-1][1] > 1_000_000

    until(there_is_one)


@pytest.mark.processes
def test_a_kill_costs_at_most_an_interval_of_bytes(aircraft: Aircraft, slow: FaultProxy) -> None:
    process = aircraft.start("--once")
    await_gap(aircraft, process)
    process.kill()
    process.communicate()
    age = time.time() - aircraft.part("c", "big").with_suffix(".json").stat().st_mtime
    kept = sum(end - start for start, end in noted(aircraft))
    before = requests(slow)
    # Bytes after the last recorded state and bytes in flight: the proxy counts what it wrote to the kernel.
    # The state is due every 0.1 s, but a busy machine may be late.
    assert sum(seen.sent for seen in before) - kept <= len(before) * (SLOW * (age + 0.2) + 65_536)
    assert age < 10
    slow.per_connection = None
    assert aircraft.load().code == 0
    assert aircraft.path("c", "big").read_bytes() == BODY
    again = sum(seen.sent for seen in requests(slow)[len(before) :])
    assert len(BODY) - kept <= again <= len(BODY) - kept + OVERLAP
    assert aircraft.left_over() == []


@pytest.mark.processes
def test_a_stop_over_several_connections_is_quick_and_loses_nothing(aircraft: Aircraft, slow: FaultProxy) -> None:
    process = aircraft.start("--once", LOADER_READ_TIMEOUT="10m")  # not waited for
    await_gap(aircraft, process)
    slow.offline(silent=True)
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 75
    told = aircraft.progress("c")["big"]
    assert told // MIB <= sum(end - start for start, end in noted(aircraft)) // MIB
    slow.online()
    slow.per_connection = None
    assert aircraft.load().code == 0
    assert aircraft.path("c", "big").read_bytes() == BODY


@pytest.mark.processes
def test_a_new_version_published_under_several_connections_is_loaded(aircraft: Aircraft, slow: FaultProxy) -> None:
    other = os.urandom(2_000_000)

    def replace() -> None:
        slow.per_connection = None
        publish(aircraft.media, "c", {"big": other}, version=2)

    rule = slow.add(Rule(ReplaceMidway(20_000, replace), key="*/big.tgz", nth=4))
    assert aircraft.load().code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "big").read_bytes() == other
    assert aircraft.errors() == {}
