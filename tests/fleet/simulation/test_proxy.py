"""The fault proxy: requests pass unchanged and signed, scripted faults occur, and the log records both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fleet.simulation.faults import (
    Delay,
    DropHeader,
    ErrorInside,
    ErrorResponse,
    FlipByte,
    Hang,
    IgnoreRange,
    ReplaceMidway,
    Reset,
    Rule,
    SlowBody,
    Truncate,
    WrongRange,
)
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import Body

CONTENT = bytes(range(256)) * 2_000  # 512,000 bytes
KEY = "ACME/2026-12/Über uns +1.tgz"


@pytest.fixture
def link(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint) as link:
        yield link


@pytest.fixture
def via_proxy(link: FaultProxy, seaweed: SeaweedFS, media: S3Bucket) -> S3Bucket:
    """Return the bucket as the aircraft sees it, through the proxy, with one item."""
    media.put(KEY, CONTENT)
    return S3Bucket(
        media.name,
        endpoint=link.endpoint,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        read_timeout=2.5,
        sleep=lambda _: None,
    )


def rest_of(body: Body) -> bytes:
    return b"".join(iter(body.read, b""))


def fetch(bucket: S3Bucket, start: int = 0) -> bytes:
    with bucket.open(KEY, start=start) as body:
        return rest_of(body)


def failure(bucket: S3Bucket, start: int = 0) -> str:
    with pytest.raises(WorldError) as error:
        fetch(bucket, start)
    return error.value.code


def test_everything_passes_and_signatures_hold(via_proxy: S3Bucket, link: FaultProxy) -> None:
    assert fetch(via_proxy) == CONTENT
    assert fetch(via_proxy, 500_000) == CONTENT[500_000:]
    assert [info.key for info in via_proxy.list("ACME/")] == [KEY]
    via_proxy.put("ACME/N1/x", b"42")
    with pytest.raises(WorldError):
        via_proxy.put("ACME/N1/x", b"43", if_none_match=True)
    via_proxy.delete("ACME/N1/x")
    assert [(e.method, e.status) for e in link.log] == [
        ("GET", 200),
        ("GET", 206),
        ("LIST", 200),
        ("PUT", 200),
        ("PUT", 412),
        ("DELETE", 204),
    ]


def test_the_log_has_every_request(via_proxy: S3Bucket, link: FaultProxy) -> None:
    etag = via_proxy.put("ACME/N1/x.progress", b"42")
    via_proxy.open(KEY, start=511_999).close()
    with pytest.raises(WorldError):
        via_proxy.open(KEY, if_match="nonsense")
    via_proxy.get_if_changed("ACME/N1/x.progress", 64, etag)
    put, ranged, refused, known = link.requests()
    assert (put.path, put.body, put.received) == (f"{via_proxy.name}/ACME/N1/x.progress", b"42", 2)
    assert (ranged.path, ranged.range, ranged.sent) == (f"{via_proxy.name}/{KEY}", "bytes=511999-", 1)
    assert (refused.if_match, refused.status) == ('"nonsense"', 412)
    assert (known.if_none_match, known.status, known.sent) == (f'"{etag}"', 304, 0)
    assert link.requests("PUT", "*/ACME/N1/*") == [put]
    assert link.requests("GET", "*.tgz") == [ranged, refused]


def test_the_bandwidth_is_shared_by_all_connections(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.bandwidth = 2_000_000
    start = time.monotonic()
    threads = [threading.Thread(target=fetch, args=(via_proxy,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start > 0.65


def test_a_connection_gets_no_more_than_its_own_rate(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.per_connection = 128_000
    spans: list[tuple[float, float]] = []

    def fetch_half() -> None:
        began = time.monotonic()
        fetch(via_proxy, len(CONTENT) // 2)
        spans.append((began, time.monotonic()))

    threads = [threading.Thread(target=fetch_half) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spans) == 4
    assert min(ended - began for began, ended in spans) > 1.8
    assert max(began for began, _ in spans) < min(ended for _, ended in spans), "all four at once"


def test_the_data_is_unchanged_when_the_bandwidth_changes_midway(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.bandwidth = 20_000
    with via_proxy.open(KEY) as body:
        begun = body.read(1)
        link.bandwidth = None
        assert begun + rest_of(body) == CONTENT


def test_a_request_waits_for_the_latency(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.latency = 0.3
    start = time.monotonic()
    via_proxy.get(KEY, 1)
    assert time.monotonic() - start >= 0.3


def test_offline_breaks_what_runs_and_refuses_the_rest(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.bandwidth = 100_000
    with via_proxy.open(KEY) as body:
        assert body.read(10)
        link.offline()
        with pytest.raises(WorldError) as error:
            rest_of(body)  # the received bytes, then the error
    assert error.value.code in ("NETWORK", "SHORT_BODY")
    assert failure(via_proxy) == "NETWORK"
    link.online()
    link.bandwidth = None
    assert fetch(via_proxy) == CONTENT


def test_a_silent_link_times_out_and_goes_on_later(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.offline(silent=True)
    assert failure(via_proxy) == "TIMEOUT"
    threading.Timer(0.3, link.online).start()
    assert fetch(via_proxy) == CONTENT


def test_a_flipped_byte_is_the_one_asked_for(via_proxy: S3Bucket, link: FaultProxy) -> None:
    rule = link.add(Rule(FlipByte(at=300_000), key="*.tgz", times=2))
    wrong = fetch(via_proxy)
    assert [i for i in range(len(CONTENT)) if wrong[i] != CONTENT[i]] == [300_000]
    resumed = fetch(via_proxy, 299_990)
    assert [i for i in range(len(resumed)) if resumed[i] != CONTENT[299_990 + i]] == [10]
    assert fetch(via_proxy) == CONTENT
    assert rule.hits == 2
    assert [e.faults for e in link.log] == [["FlipByte"], ["FlipByte"], []]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Truncate(100_000), "SHORT_BODY"),
        (Truncate(100_000, chunked=True), "SHORT_BODY"),
        (Reset(100_000), "NETWORK"),
        (Reset(), "NETWORK"),
        (Hang(), "TIMEOUT"),
        (SlowBody(0.1, after=100), "TIMEOUT"),
        (ErrorResponse(503, "SlowDown"), "THROTTLED"),
        (ErrorResponse(403, "RequestTimeTooSkewed"), "CLOCK_SKEW"),
        (DropHeader("ETag"), "NETWORK"),
        (ErrorInside(etag=False), "NETWORK"),
    ],
    ids=repr,
)
def test_a_fault_strikes_once_and_then_all_is_well(
    fault: Truncate, code: str, via_proxy: S3Bucket, link: FaultProxy
) -> None:
    rule = link.add(Rule(fault))
    assert failure(via_proxy) == code
    assert fetch(via_proxy) == CONTENT
    assert rule.hits == 1


def test_a_cut_may_look_like_the_end(via_proxy: S3Bucket, link: FaultProxy) -> None:
    for fault in (Truncate(1000, lie=True), Truncate(1000, lie=True, chunked=True)):
        link.add(Rule(fault))
        assert fetch(via_proxy) == CONTENT[:1000]


def test_a_range_may_be_ignored_or_wrong(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.add(Rule(IgnoreRange(CONTENT)))
    with via_proxy.open(KEY, start=1000) as body:
        assert (body.start, body.read(4)) == (0, CONTENT[:4])
    link.add(Rule(WrongRange(by=-1)))
    assert failure(via_proxy, 1000) == "NETWORK"


def test_an_error_may_come_as_content(via_proxy: S3Bucket, link: FaultProxy) -> None:
    link.add(Rule(ErrorInside()))
    assert fetch(via_proxy).startswith(b"<?xml")


def test_an_object_may_be_swapped_under_way(via_proxy: S3Bucket, link: FaultProxy, media: S3Bucket) -> None:
    (info,) = media.list()
    rule = link.add(Rule(ReplaceMidway(100_000, lambda: media.put(KEY, b"another"))))
    assert failure(via_proxy) == "NETWORK"
    with pytest.raises(WorldError) as error:
        via_proxy.open(KEY, start=100_000, if_match=info.etag)
    assert (error.value.code, rule.hits) == ("OBJECT_CHANGED", 1)


def test_a_busy_store_may_ask_for_patience(via_proxy: S3Bucket, link: FaultProxy) -> None:
    rule = link.add(Rule(ErrorResponse(503, "SlowDown", retry_after=7), method="PUT", nth=2))
    waits = list[float]()
    via_proxy._transport._sleep = waits.append
    via_proxy.put("a", b"")
    via_proxy.put("b", b"")
    assert waits == [7]
    assert rule.hits == 1
    assert [e.status for e in link.requests("PUT")] == [200, 503, 200]


def test_rules_choose_by_method_key_and_turn(via_proxy: S3Bucket, link: FaultProxy) -> None:
    puts = link.add(Rule(ErrorResponse(500, "InternalError"), method="PUT", key="*/a*", nth=2, times=None))
    lists = link.add(Rule(Delay(0.01), method="LIST"))
    via_proxy.put("b", b"")
    via_proxy.put("a1", b"")
    with pytest.raises(WorldError):
        via_proxy.put("a2", b"")
    via_proxy.list_prefixes()
    assert (puts.hits, lists.hits) == (3, 1)
