"""Bodies of objects, byte for byte, and the values they must parse to. These files never change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from loader.contract.heartbeat import Heartbeat, HeldCampaign, StoreUsage, parse_heartbeat
from loader.contract.item_reports import ErrorReport, parse_error, parse_progress
from loader.contract.manifest import Exhibition, Item, Manifest, parse_manifest
from loader.contract.time_window import TimeWindow
from loader.contract.transfer_queue import QueueEntry, TransferQueue, parse_transfer_queue
from loader.errors import BadManifest, BadProgress, Code

GOLDEN = Path(__file__).parent / "golden"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MANIFESTS = {
    "manifest-full.json": Manifest(
        content=(
            Item("movie-001", 734003200, SHA256, "The Long Way Up", "movie", True, 100),
            Item("Über den Wolken", 0, required=False),
        ),
        airline="ACME",
        campaign="2026-12",
        version=3,
        title="December 2026",
        exhibition=Exhibition(date(2026, 12, 1), date(2026, 12, 31)),
        schema=1,
    ),
    "manifest-bare-list.json": Manifest(content=(Item("a", 1), Item("b", 2))),
    "manifest-items.json": Manifest(content=(Item("a", 1),)),
    "manifest-empty.json": Manifest(content=()),
    "manifest-newer.json": Manifest(
        content=(Item("a", 1, extra={"languages": ["en", "hi"]}),),
        exhibition=Exhibition(starts=date(2027, 1, 1), extra={"region": {"not": ["XX"]}}),
        schema=2,
        tails=("D-1",),
        signed_at=datetime(2027, 1, 1, tzinfo=UTC),
        extra={"items": "kept"},
    ),
    "manifest-nulls.json": Manifest(content=(Item("a", 1),)),
    "manifest-bom.json": Manifest(content=()),
    "manifest-utf16.json": Manifest(content=()),
}
REFUSED = {
    "refused-latin1.json": "byte 23: not UTF-8",
    "refused-truncated.json": "line 1, column 28: not JSON",
    "refused-trailing.json": "line 1, column 17: not JSON",
    "refused-comment.json": "line 1, column 16: not JSON",
    "refused-error-page.json": "line 1, column 1: not JSON",
    "refused-empty.json": "line 1, column 1: not JSON",
    "refused-nul.json": "line 1, column 15: not JSON",
}
PROGRESS = {"progress-plain.txt": 4194304, "progress-newline.txt": 4194304, "progress-zeros.txt": 4194304}
ERRORS = {
    "error-coded.txt": ErrorReport(Code.HASH_MISMATCH, "the bytes of movie-001 are not the published ones"),
    "error-foreign.txt": ErrorReport(
        None, 'Traceback (most recent call last): File "x.py", line 3 OSError: [Errno 28] No space left on device'
    ),
    "error-html.txt": ErrorReport(None, "<script>alert(1)</script><img src=x onerror=alert(2)>"),
    "error-latin1.txt": ErrorReport(None, "Kein Platz f\ufffdr \ufffd"),
}
HEARTBEATS = {
    "heartbeat-full.json": Heartbeat(
        loader="1.4.0",
        at=datetime(2026, 12, 1, 10, tzinfo=UTC),
        started_at=datetime(2026, 12, 1, 9, tzinfo=UTC),
        state="loading",
        campaign="2026-12",
        rate_bps=1_250_000,
        stores=(StoreUsage("/content", 1000, 10, {"mount": "sda1"}),),
        queue_version=7,
        held=(HeldCampaign("2026-11", 40, 99, True),),
        extra={"battery": 0.5},
    ),
    "heartbeat-empty.json": Heartbeat(schema=None),
}
ORDERS = {
    "orders-full.json": TransferQueue(
        version=7,
        entries=(
            QueueEntry(
                "2026-12",
                ("movie-001", "movie-002"),
                "load",
                100,
                datetime(2026, 12, 1, 22, tzinfo=UTC),
                datetime(2026, 12, 2, 4, tzinfo=UTC),
            ),
            QueueEntry("2026-12"),
            QueueEntry("2026-10", action="purge"),
        ),
        paused=True,
        bandwidth_limit=20_000_000,
        window=TimeWindow(((1320, 300),)),
    ),
    "orders-newer.json": TransferQueue(
        version=8,
        entries=(QueueEntry("2026-12", action="polish", extra={"ticket": "T-5"}),),
        schema=None,
        extra={"by": "ops"},
        settings_extra={"link": "5g"},
    ),
    "orders-empty.json": TransferQueue(version=0, schema=None),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_read_as_it_always_was(name: str) -> None:
    body = (GOLDEN / name).read_bytes()
    assert parse_manifest(body, airline="ACME", campaign="2026-12") == MANIFESTS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_manifest_is_refused_with_the_place(name: str) -> None:
    with pytest.raises(BadManifest, match=REFUSED[name]) as caught:
        parse_manifest((GOLDEN / name).read_bytes(), airline="ACME", campaign="2026-12")
    assert caught.value.code == "BAD_MANIFEST"


@pytest.mark.parametrize("name", PROGRESS)
def test_a_progress_is_read_as_it_always_was(name: str) -> None:
    assert parse_progress((GOLDEN / name).read_bytes()) == PROGRESS[name]


@pytest.mark.parametrize("name", ["progress-refused-fullwidth.txt", "progress-refused-underscore.txt"])
def test_a_progress_that_only_python_could_read_is_refused(name: str) -> None:
    with pytest.raises(BadProgress):
        parse_progress((GOLDEN / name).read_bytes())


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_read_as_it_always_was(name: str) -> None:
    assert parse_error((GOLDEN / name).read_bytes()) == ERRORS[name]


def test_an_error_of_every_byte_becomes_one_line_that_can_be_stored() -> None:
    report = parse_error((GOLDEN / "error-binary.txt").read_bytes())
    assert "\0" not in report.text
    assert "\n" not in report.text
    assert "ABCDEFG" in report.text
    assert "\N{SYMBOL FOR ESCAPE}" in report.text


@pytest.mark.parametrize("name", HEARTBEATS)
def test_a_heartbeat_is_read_as_it_always_was(name: str) -> None:
    assert parse_heartbeat((GOLDEN / name).read_bytes()) == HEARTBEATS[name]


@pytest.mark.parametrize("name", ORDERS)
def test_a_queue_is_read_as_it_always_was(name: str) -> None:
    assert parse_transfer_queue((GOLDEN / name).read_bytes()) == ORDERS[name]


def test_every_golden_file_is_used() -> None:
    expected = {*MANIFESTS, *REFUSED, *PROGRESS, *ERRORS, *HEARTBEATS, *ORDERS, "error-binary.txt"}
    expected |= {"progress-refused-fullwidth.txt", "progress-refused-underscore.txt"}
    assert {path.name for path in GOLDEN.iterdir()} == expected
