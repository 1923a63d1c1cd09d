"""Disks that are full, read-only, or locked by another loader."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, first_requested_byte, publish, wait_for_exit

pytestmark = pytest.mark.processes
MIB = 1_048_576


@pytest.mark.root
def test_items_that_do_not_fit_are_refused_before_the_download(
    aircraft: Aircraft, link: FaultProxy, small_disk: Path
) -> None:
    publish(aircraft.media, "big", {"large": os.urandom(9 * MIB), "small": b"fits"})
    publish(aircraft.media, "other", {"a": os.urandom(2 * MIB)})
    assert aircraft.load().code == 1
    assert link.requests("GET", "*/large.tgz") == []
    assert aircraft.path("big", "small").read_bytes() == b"fits"
    assert aircraft.path("other", "a").stat().st_size == 2 * MIB
    errors = aircraft.errors()
    assert list(errors) == ["large"]
    assert errors["large"].startswith("NO_SPACE: 9437184 bytes are still to be fetched and ")
    assert aircraft.progress("big") == {"large": 0, "small": 4}


@pytest.mark.root
def test_refused_items_are_loaded_as_soon_as_space_is_free(
    aircraft: Aircraft, link: FaultProxy, small_disk: Path
) -> None:
    publish(aircraft.media, "c", {"a": os.urandom(3 * MIB), "b": os.urandom(3 * MIB)})
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6 * MIB))
    link.bandwidth = 100_000
    process = aircraft.start(LOADER_MAX_TRANSFERS="1", LOADER_POLL_INTERVAL="300ms")
    while set(aircraft.errors()) != {"a", "b"}:
        assert process.poll() is None
    filler.unlink()
    # One of them waits for the only worker, which no error reports.
    while aircraft.errors():
        assert process.poll() is None
    assert not (aircraft.path("c", "a").exists() and aircraft.path("c", "b").exists())
    process.terminate()
    assert wait_for_exit(process).code == 75


@pytest.mark.root
def test_the_reserve_is_left_free(aircraft: Aircraft, small_disk: Path) -> None:
    publish(aircraft.media, "c", {"a": os.urandom(3 * MIB)})
    assert aircraft.load("--reserve", "6MiB").code == 1
    assert aircraft.errors()["a"].startswith("NO_SPACE: ")
    assert aircraft.load("--reserve", "4MiB").code == 0


@pytest.mark.root
def test_a_disk_that_fills_up_midway_keeps_the_part(aircraft: Aircraft, link: FaultProxy, small_disk: Path) -> None:
    publish(aircraft.media, "c", {"a": os.urandom(6 * MIB), "z": b"last"})
    link.bandwidth = 200_000
    process = aircraft.start("--once")
    while not (aircraft.part("c", "a").exists() and aircraft.part("c", "a").stat().st_size > 0):
        assert process.poll() is None
    filler = small_disk / "filler"
    filler.write_bytes(bytes(4 * MIB))
    link.bandwidth = None
    run = wait_for_exit(process)
    assert run.code == 1
    assert [(event["content"], event["code"]) for event in run.of("failed")] == [("a", "NO_SPACE")]
    assert run.of("retrying") == []
    assert aircraft.errors()["a"].startswith("NO_SPACE: ")
    bytes_on_disk, asked = aircraft.edge("c", "a"), len(link.requests("GET", "*/a.tgz"))
    assert bytes_on_disk > MIB
    assert aircraft.path("c", "z").read_bytes() == b"last"
    filler.unlink()
    assert aircraft.load().code == 0
    assert first_requested_byte(link.requests("GET", "*/a.tgz")[asked:]) == bytes_on_disk


@pytest.mark.root
def test_a_read_only_disk_is_reported(aircraft: Aircraft, small_disk: Path) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert aircraft.load().code == 1
    assert aircraft.errors()["a"].startswith("READ_ONLY: ")


def test_a_second_loader_ends_at_once_and_touches_nothing(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {"a": os.urandom(400_000)})
    link.bandwidth = 20_000
    first = aircraft.start("--once")
    while not aircraft.part("c", "a").exists():
        assert first.poll() is None
    first.send_signal(signal.SIGSTOP)  # it has the lock of the directory and writes nothing itself
    before = {path: path.stat().st_ino for path in aircraft.folder.rglob("*")}
    reports = aircraft.reports()
    asked = len(link.log)
    second = aircraft.load(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    assert second.code == 4
    assert "Another loader" in second.stderr
    assert {path: path.stat().st_ino for path in aircraft.folder.rglob("*") if path in before} == before
    assert set(reports) <= set(aircraft.reports())
    assert len(link.log) - asked < 20
    first.send_signal(signal.SIGCONT)
    link.bandwidth = None
    assert wait_for_exit(first).code == 0


def test_a_content_directory_that_cannot_be_is_a_wrong_setting(aircraft: Aircraft, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = aircraft.load(LOADER_CONTENT_DIR=str(tmp_path / "file"))
    assert run.code == 2
    assert "--content-dir" in run.stderr
