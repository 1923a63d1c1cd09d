"""Disks without write permission, and several disks of which one is full or read-only: the others continue."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish
from tests.support.fork_server import ForkServer

pytestmark = [pytest.mark.processes, pytest.mark.root]

MIB = 1_048_576
UNPRIVILEGED_UID = 65_534


@pytest.fixture
def common(aircraft: Aircraft) -> Iterator[Aircraft]:
    """An aircraft whose content directory belongs to the user `nobody`, who can reach it."""
    with tempfile.TemporaryDirectory(prefix="common-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101  what pytest gives is root's alone
        content = Path(folder) / "content"
        content.mkdir()
        os.chown(content, UNPRIVILEGED_UID, UNPRIVILEGED_UID)
        yield replace(aircraft, folder=content)


def test_an_ordinary_user_loads(common: Aircraft, fork_server: ForkServer) -> None:
    publish(common.media, "c", {"a": b"content"})
    run = fork_server.start(common.environment(), "--once", user=UNPRIVILEGED_UID).end()
    assert (run.code, run.stderr) == (0, "")
    assert common.path("c", "a").read_bytes() == b"content"
    assert {path.owner() for path in common.folder.rglob("*")} == {"nobody"}


def test_a_campaign_that_may_not_be_written_stops_no_other(common: Aircraft, fork_server: ForkServer) -> None:
    publish(common.media, "theirs", {"a": b"content"})
    publish(common.media, "ours", {"a": b"content"})
    (common.folder / "theirs").mkdir()  # owned by root
    assert fork_server.start(common.environment(), "--once", user=UNPRIVILEGED_UID).end().code == 1
    assert common.path("ours", "a").read_bytes() == b"content"
    assert list((common.folder / "theirs").iterdir()) == []
    (text,) = common.errors().values()
    assert text.startswith("READ_ONLY: ")
    os.chown(common.folder / "theirs", UNPRIVILEGED_UID, UNPRIVILEGED_UID)
    assert fork_server.start(common.environment(), "--once", user=UNPRIVILEGED_UID).end().code == 0
    assert common.errors() == {}


def test_an_unwritable_directory_is_reported_to_the_ground(common: Aircraft, fork_server: ForkServer) -> None:
    publish(common.media, "c", {"a": b"content"})
    os.chown(common.folder, 0, 0)
    assert fork_server.start(common.environment(), "--once", user=UNPRIVILEGED_UID).end().code == 1
    assert common.errors()["a"].startswith("READ_ONLY: ")
    assert list(common.folder.iterdir()) == []


def test_a_directory_that_may_not_even_be_read_is_a_wrong_setting(common: Aircraft, fork_server: ForkServer) -> None:
    os.chown(common.folder, 0, 0)
    common.folder.chmod(0o700)
    run = fork_server.start(common.environment(), "--once", user=UNPRIVILEGED_UID).end()
    assert run.code == 2
    assert "--content-dir" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[Path]]:
    """Two small file systems."""
    mounted: list[Path] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
        mounted.append(folder)
    yield mounted
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_items_that_fit_no_disk_are_refused_and_all_others_are_loaded(
    aircraft: Aircraft, link: FaultProxy, disks: list[Path]
) -> None:
    aircraft.extra["LOADER_CONTENT_DIR"] = ":".join(map(str, disks))
    publish(aircraft.media, "c", {name: os.urandom(5 * MIB) for name in ("first", "second", "third")})
    publish(aircraft.media, "d", {"small": b"fits"})
    assert aircraft.load().code == 1
    disk_of = {path.relative_to(disk): disk for disk in disks for path in disk.glob("*/*.tgz")}
    assert sorted(map(str, disk_of)) == ["c/first.tgz", "c/second.tgz", "d/small.tgz"]
    assert set(disk_of.values()) == set(disks)
    assert link.requests("GET", "*/third.tgz") == []
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == {"third": "NO_SPACE"}
    assert sum(request.sent for request in link.requests("GET", "*.tgz")) == 2 * 5 * MIB + 4


def test_a_disk_that_became_read_only_keeps_what_it_has_and_the_other_goes_on(
    aircraft: Aircraft, link: FaultProxy, disks: list[Path]
) -> None:
    one, two = disks
    publish(aircraft.media, "c", {"a": b"on the first disk"})
    assert aircraft.load(LOADER_CONTENT_DIR=str(one)).code == 0
    subprocess.run(["mount", "-o", "remount,ro", one], check=True)
    # Only the second disk has space left.
    subprocess.run(["mount", "-o", "remount,size=16m", two], check=True)
    publish(aircraft.media, "d", {"b": os.urandom(MIB)})
    run = aircraft.load(LOADER_CONTENT_DIR=f"{two}:{one}")
    assert (one / "c" / "a.tgz").read_bytes() == b"on the first disk"
    assert (two / "d" / "b.tgz").stat().st_size == MIB
    assert aircraft.progress("c") == {"a": 17}
    assert aircraft.progress("d") == {"b": MIB}
    # The failed write to the other disk is reported, but no item has failed because of it.
    assert {code.partition(":")[0] for code in aircraft.errors().values()} == ({"READ_ONLY"} if run.code else set())
    assert set(aircraft.errors()) <= {"d"}
    assert len(link.requests("GET", "*/a.tgz")) == 1
