"""An aircraft at a real store, straight or over a link that can be made to fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from tests.support.aircraft import Aircraft
from tests.support.fork_server import Nursery
from tests.support.invariants import Promises


@pytest.fixture
def aircraft(tmp_path: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket) -> Aircraft:
    return Aircraft(tmp_path / "content", seaweed.endpoint, seaweed.environment(), media, status)


@pytest.fixture
def link(seaweed: SeaweedFS, aircraft: Aircraft) -> Iterator[FaultProxy]:
    """What lies between the aircraft and its store."""
    with FaultProxy(seaweed.endpoint) as link:
        aircraft.endpoint = link.endpoint
        yield link


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where loaders are forked; it knows nothing of a test but what each life is told."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def promises(aircraft: Aircraft, tmp_path: Path) -> Promises:
    """The invariants of this aircraft; nothing may appear in the test's folder beside the content directory."""
    return Promises(aircraft, tmp_path)


@pytest.fixture
def small_disk(aircraft: Aircraft) -> Iterator[Path]:
    """The content directory is a file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: a full disk needs root to mount a small file system")
    aircraft.folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(aircraft.folder)], check=False)
    if mounted.returncode:
        pytest.skip("NOT RUN: a full disk needs the right to mount")
    yield aircraft.folder
    subprocess.run(["umount", str(aircraft.folder)], check=True)
