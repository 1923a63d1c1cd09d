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
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.parallel_bucket import CONTENT, KEY, DownloadSetup, GatedBody, RangeRequest
from tests.support.portal_system import PATIENCE, wait_until


@pytest.fixture
def download_setup(tmp_path: Path) -> Iterator[DownloadSetup]:
    download_setup = DownloadSetup(tmp_path)
    yield download_setup
    download_setup.store.close()


def fails(download_setup: DownloadSetup) -> str:
    with pytest.raises(WorldError) as failed:
        download_setup.run()
    assert not download_setup.final.exists()
    return failed.value.code


def test_ranges_are_disjoint_and_all_of_the_object_asked_for_first(download_setup: DownloadSetup) -> None:
    download_setup.bucket.gate_at = 5
    download_setup.succeeds()
    first, *ranges = download_setup.bucket.asked
    assert (first.start, first.end, first.if_match) == (0, None, None)
    assert len(ranges) >= 4
    etag = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert {asked.if_match for asked in ranges} == {etag}
    assert union((asked.start, asked.end or 0) for asked in ranges)[-1][1] == len(CONTENT)
    assert download_setup.ledger.kept[-1] == len(CONTENT)
    assert download_setup.ledger.kept == sorted(download_setup.ledger.kept)


def test_a_range_that_breaks_disturbs_no_other_and_only_its_rest_is_asked_for_again(
    download_setup: DownloadSetup,
) -> None:
    download_setup.bucket.gate_at = 5
    download_setup.bucket.script[3] = lambda asked: download_setup.bucket.send(asked, breaks=1000)
    download_setup.succeeds()
    broken = download_setup.bucket.asked[2]
    assert broken.start + 1000 in [asked.start for asked in download_setup.bucket.asked]
    assert download_setup.ledger.retries == ["NETWORK"]
    assert download_setup.streams.refusals == 0


def refuse(code: Code) -> object:
    def act(asked: RangeRequest) -> GatedBody:
        raise WorldError(code)

    return act


@pytest.mark.parametrize("code", [Code.THROTTLED, Code.NETWORK])
def test_a_store_that_refuses_further_connections_gets_fewer(download_setup: DownloadSetup, code: Code) -> None:
    download_setup.bucket.gate_at = 6  # the others wait until the refused one is replaced
    download_setup.bucket.script[4] = refuse(code)  # type: ignore[assignment]
    download_setup.succeeds()
    assert download_setup.ledger.retries == [code]
    assert download_setup.streams.refusals == 1


def test_an_outage_costs_all_connections_together_a_bounded_number_of_requests(download_setup: DownloadSetup) -> None:
    for number in range(2, 100):
        download_setup.bucket.script[number] = refuse(Code.TIMEOUT)  # type: ignore[assignment]
    assert fails(download_setup) == "TIMEOUT"
    assert len(download_setup.bucket.asked) <= 1 + 4 * download_setup.share
    assert 0 < download_setup.kept == download_setup.bucket.sent < len(CONTENT)


def test_time_without_a_link_does_not_count_as_slowness(download_setup: DownloadSetup) -> None:
    waits: list[bool] = []

    def await_link(stop: threading.Event) -> bool:
        waits.append(True)
        return True

    download_setup.await_link = await_link
    for number in range(1, 30):
        download_setup.bucket.script[number] = refuse(Code.NETWORK)  # type: ignore[assignment]
    download_setup.succeeds()
    assert len(waits) == 29
    assert download_setup.ledger.retries == []


def test_an_object_replaced_midway_restarts_over_one_connection(download_setup: DownloadSetup) -> None:
    other = bytes(len(CONTENT))
    download_setup.item = Item("movie", len(other), hashlib.sha256(other).hexdigest())

    def swap(asked: RangeRequest) -> GatedBody:
        body = download_setup.bucket.send(asked)
        download_setup.bucket.put(KEY, other)
        return body

    download_setup.bucket.script[2] = swap
    download_setup.run()
    assert download_setup.final.read_bytes() == other
    assert 0 in download_setup.ledger.kept
    unconditional = [(asked.start, asked.end) for asked in download_setup.bucket.asked if asked.if_match is None]
    assert unconditional == [(0, None), (0, 1), (0, None)], "one byte shows that it is another object"


def test_an_object_replaced_midway_that_the_manifest_does_not_know_is_no_item(download_setup: DownloadSetup) -> None:
    download_setup.ledger.wanted = False

    def swap(asked: RangeRequest) -> GatedBody:
        download_setup.bucket.put(KEY, b"x" * len(CONTENT))
        raise WorldError(Code.OBJECT_CHANGED)

    download_setup.bucket.script[3] = swap
    assert fails(download_setup) == "OBJECT_CHANGED"
    assert download_setup.kept == 0


def test_a_store_that_ignores_ranges_is_read_again_over_one_connection(download_setup: DownloadSetup) -> None:
    download_setup.bucket.script[2] = lambda asked: download_setup.bucket.send(
        RangeRequest(asked.number, 0, None, asked.if_match)
    )
    download_setup.succeeds()
    assert [asked for asked in download_setup.bucket.asked if asked.start == 0][-1].end is None
    assert download_setup.bucket.asked[-1].start == 0


def test_a_wrong_range_is_never_stored(download_setup: DownloadSetup) -> None:
    def elsewhere(asked: RangeRequest) -> GatedBody:
        return download_setup.bucket.send(RangeRequest(asked.number, asked.start + 5, asked.end, asked.if_match))

    download_setup.bucket.script[2] = elsewhere
    download_setup.succeeds()


def test_a_longer_object_under_the_same_etag_is_a_size_mismatch(download_setup: DownloadSetup) -> None:
    def longer(asked: RangeRequest) -> GatedBody:
        body = download_setup.bucket.send(asked)
        body.size = len(CONTENT) + 1
        return body

    download_setup.bucket.script[2] = longer
    download_setup.succeeds()
    assert download_setup.ledger.kept.count(0) >= 1
    assert download_setup.ledger.retries == ["SIZE_MISMATCH"]


def test_slowness_is_judged_per_item_and_not_per_connection(download_setup: DownloadSetup) -> None:
    download_setup.min_rate, download_setup.bucket.gate_at = 1, 10**6
    assert fails(download_setup) == "TOO_SLOW"


def interrupt(download_setup: DownloadSetup) -> None:
    """Stop the download while four connections wait for bytes and two have data beyond a gap."""
    never, waiting = threading.Event(), set[int]()

    def part_of(count: int) -> object:
        def act(asked: RangeRequest) -> GatedBody:
            body = download_setup.bucket.send(asked)
            whole = body.read

            def read(limit: int = MIB) -> bytes:
                if body.sent < count:
                    return whole(min(limit, count - body.sent))
                body.gate = never
                waiting.add(asked.number)
                if len(waiting) == 4:
                    download_setup.stop.set()
                return whole(limit)

            body.read = read  # type: ignore[method-assign]
            return body

        return act

    for number, count in ((2, 0), (3, 100_000), (4, 0), (5, 50_000)):
        download_setup.bucket.script[number] = part_of(count)  # type: ignore[assignment]
    with pytest.raises(Stopped):
        download_setup.run()


def go_on(download_setup: DownloadSetup) -> None:
    download_setup.stop.clear()
    download_setup.ledger.kept.clear()


def test_one_connection_that_replaces_several_loses_no_byte_after_a_kill(
    download_setup: DownloadSetup,
) -> None:
    believed: list[int] = []
    one_at_most = threading.Event()

    def fails_in_turn(asked: RangeRequest) -> GatedBody:
        if asked.start > download_setup.bucket.bodies[0].sent:
            assert one_at_most.wait(PATIENCE)
            raise WorldError(Code.NETWORK)
        # The connection at the contiguous end fails last: the other failure is known, and none replaces it.
        download_setup.streams.allowed = 1
        one_at_most.set()
        body = download_setup.bucket.send(asked, breaks=1000)
        read = body.read

        def after_the_other(limit: int = MIB) -> bytes:
            wait_until(lambda: download_setup.ledger.retries)
            return read(limit)

        body.read = after_the_other  # type: ignore[method-assign]
        return body

    def last(asked: RangeRequest) -> GatedBody:
        body = download_setup.bucket.send(asked)
        read = body.read

        def watched(limit: int = MIB) -> bytes:
            deadline = time.monotonic() + PATIENCE
            while body.sent >= 6 * MIB and not believed and time.monotonic() < deadline:
                if download_setup.kept >= asked.start + 4 * MIB:  # where a loader would resume after a kill now
                    believed.append(download_setup.kept)
            return read(min(limit, MIB))

        body.read = watched  # type: ignore[method-assign]
        return body

    download_setup.share = download_setup.streams.allowed = 2
    download_setup.bucket.gate_at = 3
    download_setup.bucket.script |= {2: fails_in_turn, 3: fails_in_turn, 4: last}
    download_setup.succeeds()
    assert download_setup.ledger.retries == ["NETWORK"] * 2
    assert download_setup.bucket.asked[3].end is None
    assert believed


@pytest.mark.parametrize("share", [1, 4])
def test_a_stop_preserves_bytes_beyond_a_gap_for_any_later_download(download_setup: DownloadSetup, share: int) -> None:
    interrupt(download_setup)
    kept = download_setup.kept
    assert kept == download_setup.bucket.sent == download_setup.ledger.kept[-1]
    assert download_setup.bucket.bodies[0].sent + 150_000 == kept
    go_on(download_setup)
    download_setup.streams.allowed = share
    download_setup.succeeds()
    assert download_setup.bucket.sent == len(CONTENT)
    assert min(download_setup.ledger.kept) >= kept


def part_file(download_setup: DownloadSetup) -> Path:
    return download_setup.folder / ".loader" / "parts" / "c" / "movie.tgz.part"


@pytest.mark.parametrize("boot", ["another", "torn", "longer"])
def test_a_map_of_another_boot_or_a_torn_one_is_not_believed(download_setup: DownloadSetup, boot: str) -> None:
    interrupt(download_setup)
    file = part_file(download_setup).with_suffix(".json")
    state = json.loads(file.read_text())
    assert len(state["extents"]) >= 2
    if boot == "another":
        state |= {"boot": "another", "durable": 1000}
        file.write_text(json.dumps(state))
        assert download_setup.kept == 1000
    elif boot == "torn":
        file.write_text(file.read_text()[:-20])
        assert download_setup.kept == 0
    else:
        # The file is longer than the recorded extents: the rest was not written, or not recorded in time.
        os.truncate(part_file(download_setup), len(CONTENT))
        assert download_setup.kept == sum(end - start for start, end in state["extents"])
    go_on(download_setup)
    download_setup.succeeds()


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
    assert all(request.if_match and request.range for request in ranges)
    assert aircraft.progress("c") == {"big": len(BODY)}
    assert aircraft.left_over() == []


@pytest.mark.processes
def test_one_connection_is_used_on_a_fast_link(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {"big": BODY[: 5 * SLOW]})  # over a slow link it would be worth more
    assert aircraft.load().code == 0
    assert [request.range for request in requests(link)] == [""]


def noted(aircraft: Aircraft) -> list[tuple[int, int]]:
    """Return the bytes recorded in the state on disk."""
    state = aircraft.part("c", "big").with_suffix(".json")
    reported_extents = json.loads(state.read_text()).get("extents") if state.exists() else None
    return [(start, end) for start, end in reported_extents or []]


def await_gap(aircraft: Aircraft, process: subprocess.Popen[str]) -> None:
    """Wait until the state on disk has bytes beyond a gap."""

    def has_extents() -> bool:
        assert process.poll() is None
        extents = noted(aircraft)
        return len(extents) > 1 and extents[-1][1] > 1_000_000

    wait_until(has_extents)


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
    assert sum(request.sent for request in before) - kept <= len(before) * (SLOW * (age + 0.2) + 65_536)
    assert age < 10
    slow.per_connection = None
    assert aircraft.load().code == 0
    assert aircraft.path("c", "big").read_bytes() == BODY
    again = sum(request.sent for request in requests(slow)[len(before) :])
    assert len(BODY) - kept <= again <= len(BODY) - kept + OVERLAP
    assert aircraft.left_over() == []


@pytest.mark.processes
def test_a_stop_over_several_connections_is_quick_and_loses_nothing(aircraft: Aircraft, slow: FaultProxy) -> None:
    process = aircraft.start("--once", LOADER_READ_TIMEOUT="10m")  # not waited for
    await_gap(aircraft, process)
    slow.offline(silent=True)
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process).code == 75
    reported = aircraft.progress("c")["big"]
    assert reported // MIB <= sum(end - start for start, end in noted(aircraft)) // MIB
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
