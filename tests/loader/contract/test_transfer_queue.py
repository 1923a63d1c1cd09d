"""Transfer queues: strict, bounded, with unknown fields preserved."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract.manifest import ITEMS_LIMIT
from loader.contract.time_window import ALWAYS, TimeWindow
from loader.contract.transfer_queue import (
    ENTRIES_LIMIT,
    QUEUE_LIMIT,
    QueueEntry,
    TransferQueue,
    build_transfer_queue,
    parse_transfer_queue,
)
from loader.errors import BadTransferQueue
from tests.support.contract_strategies import CONTENT, SEGMENTS, TIMES, assert_presentable, extras

MINUTES = st.integers(0, 24 * 60 - 1)
SPANS = st.tuples(MINUTES, st.integers(0, 24 * 60)).filter(
    lambda span: span[0] != span[1] and (span[1] > 0 or span[0] > 0)
)
WINDOWS = st.builds(TimeWindow, st.lists(SPANS, min_size=1, max_size=4).map(tuple), st.booleans())
ENTRIES = st.builds(
    QueueEntry,
    campaign=SEGMENTS,
    content=st.none() | st.lists(CONTENT, max_size=3).map(tuple),
    action=st.sampled_from(["load", "purge", "polish"]),
    priority=st.integers(-(2**31) + 1, 2**31 - 1),
    not_before=TIMES,
    deadline=TIMES,
    extra=extras("campaign", "content", "action", "priority", "not_before", "deadline"),
)
ORDERS = st.builds(
    TransferQueue,
    version=st.integers(0, 2**53),
    entries=st.none() | st.lists(ENTRIES, max_size=3).map(tuple),
    paused=st.booleans(),
    bandwidth_limit=st.none() | st.integers(0, 2**53),
    window=st.none() | st.just(ALWAYS) | WINDOWS,
    schema=st.none() | st.integers(0, 9),
    extra=extras("schema", "version", "entries", "settings"),
    settings_extra=extras("paused", "bandwidth_limit", "window"),
)


def body(**fields: Any) -> bytes:
    return json.dumps({"version": 1, **fields}).encode()


def settings(**fields: Any) -> TransferQueue:
    return parse_transfer_queue(body(settings=fields))


@given(ORDERS)
def test_orders_round_trip(orders: TransferQueue) -> None:
    assert parse_transfer_queue(build_transfer_queue(orders)) == orders


@given(st.binary(max_size=100))
def test_any_bytes_are_orders_or_refused(hostile: bytes) -> None:
    try:
        parse_transfer_queue(hostile)
    except BadTransferQueue as exc:
        assert_presentable(exc)


@given(
    st.dictionaries(
        st.sampled_from(["version", "entries", "settings", "schema"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["campaign", "content", "action", "priority", "deadline", "window", "bandwidth_limit"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ),
    )
)
def test_any_json_is_orders_or_refused_with_the_place(document: dict[str, Any]) -> None:
    try:
        parse_transfer_queue(json.dumps(document).encode())
    except BadTransferQueue as exc:
        assert_presentable(exc)


@pytest.mark.parametrize(
    ("hostile", "sentence"),
    [
        (b"[]", "the document: must be an object, not a list"),
        (b"{}", "version: is missing"),
        (b'{"version": null}', "version: is missing"),
        (b'{"version": 1.0}', "version: must be a whole number"),
        (b'{"version": true}', "version: must be a whole number"),
        (b'{"version": -1}', "version: must be between"),
        (b'{"version": 1, "version": 2}', "the key 'version' appears twice"),
        (body(entries={}), "entries: must be a list, not an object"),
        (body(entries=[{"campaign": "a"}, 5]), r"entries\[1\]: must be an object"),
        (body(entries=[{}]), r"entries\[0\]\.campaign: is missing"),
        (body(entries=[{"campaign": 5}]), r"entries\[0\]\.campaign: must be a string"),
        (body(entries=[{"campaign": "a", "content": "b"}]), r"entries\[0\]\.content: must be a list"),
        (body(entries=[{"campaign": "a", "content": ["b", 5]}]), r"entries\[0\]\.content\[1\]: must be a string"),
        (body(entries=[{"campaign": "a", "action": 1}]), r"entries\[0\]\.action: must be a string"),
        (body(entries=[{"campaign": "a", "action": "x\n"}]), r"entries\[0\]\.action: must be load or purge"),
        (body(entries=[{"campaign": "a", "action": "x" * 41}]), r"entries\[0\]\.action: must be load or purge"),
        (body(entries=[{"campaign": "a", "priority": 2**31}]), r"entries\[0\]\.priority: must be between"),
        (body(entries=[{"campaign": "a", "deadline": "soon"}]), r"entries\[0\]\.deadline: must be an ISO 8601 time"),
        (body(entries=[{"campaign": "a", "not_before": 5}]), r"entries\[0\]\.not_before: must be a string"),
        (body(entries=[{"campaign": "a"}] * (ENTRIES_LIMIT + 1)), "entries: has 1,001 entries; the limit is 1,000"),
        (body(entries=[{"campaign": "a", "content": ["b"] * (ITEMS_LIMIT + 1)}]), r"content: has 10,001 names"),
        (body(settings=[]), "settings: must be an object"),
        (body(settings=0), "settings: must be an object"),
        (body(settings={"paused": 1}), "settings.paused: must be true or false"),
        (body(settings={"bandwidth_limit": "much"}), "settings.bandwidth_limit: 'much' is not a size"),
        (body(settings={"bandwidth_limit": "9" * 400}), "settings.bandwidth_limit: .* is not a size"),
        (body(settings={"bandwidth_limit": "9" * 19 + "TB"}), "settings.bandwidth_limit: must be at most"),
        (body(settings={"bandwidth_limit": ""}), "settings.bandwidth_limit: '' is not a size"),
        (body(settings={"bandwidth_limit": -1}), "settings.bandwidth_limit: must be between"),
        (body(settings={"bandwidth_limit": 1.5}), "settings.bandwidth_limit: must be a whole number"),
        (body(settings={"bandwidth_limit": []}), "settings.bandwidth_limit: must be a whole number"),
        (body(settings={"window": "at night"}), "settings.window: 'at night' is not a list of hours"),
        (body(settings={"window": 22}), "settings.window: must be a string"),
        (body(settings={"window": "01:00-02:00," * 24 + "03:00-04:00"}), "settings.window: more than 24 spans"),
        (b'{"version": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\x1f\x8b{}", "compressed with gzip"),
        (b" " * (QUEUE_LIMIT + 1), "longer than"),
    ],
)
def test_wrong_orders_are_refused_with_the_place(hostile: bytes, sentence: str) -> None:
    with pytest.raises(BadTransferQueue, match=sentence) as caught:
        parse_transfer_queue(hostile)
    assert caught.value.code == "INTERNAL"
    assert_presentable(caught.value)


@pytest.mark.parametrize(
    "entry", [{"campaign": "../x"}, {"campaign": ".fleet"}, {"campaign": "a", "content": ["../b"]}]
)
def test_an_invalid_name_refuses_the_queue_with_the_reason(entry: dict[str, Any]) -> None:
    with pytest.raises(BadTransferQueue, match=r"entries\[0\]\.") as caught:
        parse_transfer_queue(body(entries=[entry]))
    assert caught.value.code == "BAD_NAME"


def test_entries_that_are_absent_are_another_thing_than_none() -> None:
    assert parse_transfer_queue(body()).entries is None
    assert parse_transfer_queue(body(entries=None)).entries is None
    assert parse_transfer_queue(body(entries=[])).entries == ()


def test_content_that_is_absent_is_all_and_an_empty_list_is_none() -> None:
    listed = [{"campaign": "a"}, {"campaign": "a", "content": []}, {"campaign": "a", "content": ["b", "c.tgz"]}]
    assert [entry.content for entry in parse_transfer_queue(body(entries=listed)).entries or ()] == [
        None,
        (),
        ("b", "c"),
    ]


def test_a_time_without_zone_is_utc_and_any_zone_is_understood() -> None:
    listed = [
        {"campaign": "a", "not_before": "2026-12-01T10:00:00", "deadline": "2026-12-01T10:00:00+05:30"},
        {"campaign": "a", "not_before": "2026-12-01T10:00:00Z"},
    ]
    first, second = parse_transfer_queue(body(entries=listed)).entries or ()
    assert first.not_before == second.not_before == datetime(2026, 12, 1, 10, tzinfo=UTC)
    assert first.deadline == datetime(2026, 12, 1, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "limit"),
    [("20MB", 20_000_000), ("1 MiB/s", 1_048_576), ("8 Mbit", 1_000_000), (5000, 5000), ("0", 0), (0, 0), (None, None)],
)
def test_a_bandwidth_limit_is_written_as_people_write_it_or_as_a_number(written: object, limit: int | None) -> None:
    assert settings(bandwidth_limit=written).bandwidth_limit == limit


def test_hours_that_are_absent_are_another_thing_than_all_hours() -> None:
    assert settings().window is None
    assert settings(window="").window == ALWAYS
    assert settings(window="22:00-05:00 local").window == TimeWindow(((1320, 300),), local=True)


def test_orders_too_long_to_be_read_are_not_built() -> None:
    with pytest.raises(BadTransferQueue, match="bytes; the limit is 1,048,576"):
        build_transfer_queue(TransferQueue(1, extra={"x": "y" * QUEUE_LIMIT}))
