"""An aircraft with a real store, reached directly or through a proxy that injects faults."""

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
from tests.support.fork_server import ForkServer
from tests.support.invariants import Invariants


@pytest.fixture
def aircraft(
    tmp_path: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket, fork_server: ForkServer
) -> Aircraft:
    keys = seaweed.environment()
    return Aircraft(tmp_path / "content", seaweed.endpoint, keys, media, status, starter=fork_server.popen)


@pytest.fixture
def link(seaweed: SeaweedFS, aircraft: Aircraft) -> Iterator[FaultProxy]:
    """Put a fault-injecting proxy between the aircraft and its store."""
    with FaultProxy(seaweed.endpoint) as link:
        aircraft.endpoint = link.endpoint
        yield link


@pytest.fixture
def invariants(aircraft: Aircraft, tmp_path: Path) -> Invariants:
    """Return the invariants of this aircraft. The test's folder may contain nothing but the content directory."""
    return Invariants(aircraft, tmp_path)


@pytest.fixture
def small_disk(aircraft: Aircraft) -> Iterator[Path]:
    """Mount a file system of 8 MiB as the content directory."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: a full disk needs root to mount a small file system")
    aircraft.folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(aircraft.folder)], check=False)
    if mounted.returncode:
        pytest.skip("NOT RUN: a full disk needs the right to mount")
    yield aircraft.folder
    subprocess.run(["umount", str(aircraft.folder)], check=True)
