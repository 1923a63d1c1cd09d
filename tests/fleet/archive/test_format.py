"""The archive of a load: its keys, the object byte for byte, and what is rejected."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.archive import format
from fleet.archive.format import (
    LOAD_FIELDS,
    TRANSFER_FIELDS,
    Archive,
    FieldKind,
    Value,
    archive_key,
    archive_prefix,
    build_archive,
    parse_archive,
    parse_archive_key,
)
from loader.contract.keys import load_prefix, parse_status_key, progress_key
from loader.errors import BadArchive, BadName
from tests.support.contract_strategies import CONTENT, SEGMENTS
from tests.support.profiles import scaled

NOON = datetime(2026, 12, 1, 12, 0, 5, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden" / "archive-full.json.gz"
EMPTY: dict[FieldKind, Value] = {"flag": False, "count": 0, "known": None, "moment": None}


def with_defaults(kinds: dict[str, FieldKind], **given: Value) -> dict[str, Value]:
    """Return an archive with every field; those not given are empty."""
    return {name: EMPTY.get(kind, "") for name, kind in kinds.items()} | given


FULL = Archive(
    airline="ACME",
    tail="D-1",
    campaign="2026-12",
    load=with_defaults(
        dict(LOAD_FIELDS),
        status="complete",
        bytes_done=300,
        bytes_total=300,
        items_total=2,
        items_done=2,
        as_of=NOON,
        started_at=NOON - timedelta(hours=2),
        finished_at=NOON,
        manifest_etag="e" * 32,
    ),
    transfers={
        "movie-001": with_defaults(
            dict(TRANSFER_FIELDS),
            status="complete",
            bytes_done=300,
            bytes_total=300,
            bytes_reported=300,
            listed=True,
            progress_etag="94f6d7e04a4d452035300f18b984988c",
            progress_at=NOON,
            error_code="TIMEOUT",
            error="the store did not answer",
            error_etag="0" * 32,
            error_at=NOON - timedelta(minutes=30),
            error_past=True,
            as_of=NOON,
        ),
        "Über den Wolken": with_defaults(dict(TRANSFER_FIELDS), status="complete", bytes_total=0, listed=True),
    },
    samples=((NOON - timedelta(hours=1), 100), (NOON, 300)),
    title="December 2026",
    version=3,
    starts=date(2026, 12, 1),
    ends=date(2026, 12, 31),
)


def parsed(body: bytes) -> Archive:
    return parse_archive(body, airline="ACME", tail="D-1", campaign="2026-12")


@given(SEGMENTS, SEGMENTS, SEGMENTS)
def test_keys_of_archives_round_trip_and_are_no_reports(airline: str, tail: str, campaign: str) -> None:
    key = archive_key(airline, tail, campaign)
    assert parse_archive_key(key) == (airline, tail, campaign)
    assert key.startswith(archive_prefix(airline))
    assert len(key.encode()) <= 1024
    assert parse_status_key(key) is None


@given(SEGMENTS, SEGMENTS, SEGMENTS, CONTENT)
def test_objects_of_a_load_have_its_prefix(airline: str, tail: str, campaign: str, content: str) -> None:
    assert progress_key(airline, tail, campaign, content).startswith(load_prefix(airline, tail, campaign))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ACME/.archive/D-1/2026-12",
        "ACME/.archive/D-1/2026-12.json",
        "ACME/.archive/2026-12.json.gz",
        "ACME/.archive/D-1/x/2026-12.json.gz",
        "ACME/.archive/../2026-12.json.gz",
        "ACME/.archive/D-1/.json.gz",
        "ACME/archive/D-1/2026-12.json.gz",
        "ACME/.archive/D-1/a\n.json.gz",
        ".archive/ACME/D-1/2026-12.json.gz",
    ],
)
def test_a_key_of_another_shape_is_no_archive(key: str) -> None:
    with pytest.raises(BadName):
        parse_archive_key(key)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".fleet", "x" * 201, "e\u0301", "a\0"])
def test_no_key_is_built_from_an_illegal_name(name: str) -> None:
    for names in ((name, "t", "c"), ("a", name, "c"), ("a", "t", name)):
        with pytest.raises(BadName):
            archive_key(*names)
        with pytest.raises(BadName):
            load_prefix(*names)


def test_the_archive_is_read_as_it_ever_was() -> None:
    assert parsed(GOLDEN.read_bytes()) == FULL


def test_the_archive_is_written_as_it_ever_was() -> None:
    assert gzip.decompress(build_archive(FULL)) == gzip.decompress(GOLDEN.read_bytes())
    assert build_archive(FULL) == build_archive(FULL)


def values(kind: FieldKind) -> st.SearchStrategy[Value]:
    counts = st.integers(0, 2**63 - 1)
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
    moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
    strategies: dict[FieldKind, st.SearchStrategy[Value]] = {
        "status": st.sampled_from(["pending", "loading", "failed", "deleted"]),
        "contradiction": st.sampled_from(["", "oversized", "error left", "manifest changed"]),
        "proof": st.sampled_from(["", "size", "hash", "signed"]),
        "flag": st.booleans(),
        "count": counts,
        "known": st.none() | counts,
        "moment": st.none() | moments,
    }
    return strategies.get(kind, texts)


def measured(kinds: dict[str, FieldKind]) -> st.SearchStrategy[dict[str, Value]]:
    rows = st.fixed_dictionaries({name: values(kind) for name, kind in kinds.items()})
    return rows.map(lambda row: {**row, "bytes_done": 0})


@settings(deadline=None, max_examples=scaled(200, quick=30))
@given(measured(dict(LOAD_FIELDS)), st.dictionaries(CONTENT, measured(dict(TRANSFER_FIELDS)), max_size=3))
def test_a_written_archive_is_read_back(load: dict[str, Value], transfers: dict[str, dict[str, Value]]) -> None:
    archive = Archive("ACME", "D-1", "2026-12", load, transfers)
    assert parsed(build_archive(archive)) == archive


def compressed(document: bytes) -> bytes:
    """Compress without a time: these bytes are part of a test's name, which must be the same in every worker."""
    return gzip.compress(document, mtime=0)


def changed(**fields: object) -> bytes:
    document: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return compressed(json.dumps({**document, **fields}).encode())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "truncated"),
        (b"PK", "not gzip"),
        (GOLDEN.read_bytes()[:-9], "truncated"),
        (GOLDEN.read_bytes() + b"x", "data follows"),
        (GOLDEN.read_bytes() * 2, "data follows"),
        (compressed(b"{"), "not JSON"),
        (compressed(b"[]"), "must be an object"),
        (compressed(b'{"schema":1,"schema":1}'), "twice"),
        (compressed(b'{"schema":NaN}'), "not JSON"),
        (compressed(b"[" * 100_000), "nested deeper"),
        (changed(schema=2), "schema"),
        (changed(tail="D-2"), "tail: must be"),
        (changed(campaign="x"), "campaign: must be"),
        (changed(load=None), "load: must be an object"),
        (changed(load={"status": "done"}), "load.status: must be one of"),
        (changed(load={"status": "loading", "bytes_done": 5, "bytes_total": 4}), "bytes_done"),
        (changed(load={"status": "complete", "bytes_done": 3}), "status: must not be complete"),
        (changed(load={"status": "loading", "error_code": "X" * 41}), "at most 40"),
        (changed(load={"status": "loading", "error": "a\0b"}), "NUL"),
        (changed(load={"status": "loading", "bytes_done": 2**63}), "between"),
        (changed(transfers=[{"content": "a/b", "status": "loading"}]), "slash"),
        (changed(transfers=[{"content": "a", "status": "pending"}] * 2), "twice"),
        (changed(samples=[["2026-12-01T12:00:00Z", 1], ["2026-12-01T12:00:00Z", 2]]), "after the one before"),
        (changed(samples=[["yesterday", 1]]), "samples[0]"),
        (changed(samples=[1]), "samples[0]"),
    ],
)
def test_an_invalid_archive_of_a_load_is_refused_with_its_position(body: bytes, sentence: str) -> None:
    with pytest.raises((BadArchive, BadName), match=r".*") as caught:
        parsed(body)
    assert sentence in str(caught.value)


def test_an_archive_that_unpacks_without_end_is_refused_in_bounded_memory() -> None:
    stream = zlib.compressobj(9, wbits=31)
    bomb = b"".join(stream.compress(b" " * 1_048_576) for _ in range(65)) + stream.flush()
    assert len(bomb) < 100_000
    with pytest.raises(BadArchive, match="unpacks to more"):
        parsed(bomb)


def test_a_load_too_large_for_one_object_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "UNPACKED_LIMIT", 200)
    with pytest.raises(BadArchive, match="too large"):
        build_archive(FULL)


def test_fields_of_a_newer_portal_are_passed_over() -> None:
    assert parsed(changed(colour="blue")) == FULL
