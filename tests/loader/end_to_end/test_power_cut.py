"""A power cut: the disk has only what had reached it, and the machine restarts.

The content directory is a separate ext4 that writes nothing back by itself. The loader is frozen (or has just been
killed at a failpoint), the mounted image is copied, and the copy replaces it. A file written without fsync just before
proves each time that the cut lost something. The next process sees another boot id, as after a restart.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.simulation.faults import ErrorResponse, Rule
from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish
from tests.support.failpoint_scenario import POINTS, STEPS, assert_loaded
from tests.support.fork_server import ForkServer, LoaderProcess
from tests.support.invariants import Invariants
from tests.support.portal_system import wait_until
from tests.support.profiles import scaled

pytestmark = [pytest.mark.processes, pytest.mark.root]

SIZE = 64 * 1_048_576  # size of the file system
BANDWIDTH = 8_000_000  # bytes a second


@dataclass
class Machine:
    """An aircraft's computer with its disk. `boot` is the file that replaces its boot id."""

    fork_server: ForkServer
    aircraft: Aircraft
    folder: Path
    cuts: int = 0
    lengths: dict[Path, int] = field(default_factory=dict)

    @property
    def image(self) -> Path:
        return self.folder / f"disk-{self.cuts}"

    @property
    def boot(self) -> Path:
        return self.folder / "boot_id"

    def start(self, **more: str) -> LoaderProcess:
        return self.fork_server.start(self.aircraft.environment(**more), "--once", boot=self.boot)

    def mount(self) -> None:
        self.boot.write_text(f"{uuid.uuid4()}\n")
        subprocess.run(["mount", "-o", "loop,commit=300", self.image, self.aircraft.folder], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.aircraft.folder], check=True)

    def cut(self, life: LoaderProcess | None = None) -> None:
        """Cut the power. A running process `life` is frozen first."""
        if life is not None:
            freeze(life)
        self.lengths = {part: part.stat().st_size for part in self.aircraft.folder.glob(".loader/parts/*/*.part")}
        unsynced = self.aircraft.folder / "unsynced"
        unsynced.write_bytes(b"never reaches the disk")
        before = self.image
        self.cuts += 1
        subprocess.run(["cp", "--sparse=always", before, self.image], check=True)
        if life is not None:
            assert life.kill()
        self.unmount()
        self.mount()
        assert not unsynced.exists()

    def lengthen(self) -> None:
        """Emulate file systems that write lengths before data: parts keep their length and contain zeros."""
        for part, length in self.lengths.items():
            if part.exists() and part.stat().st_size < length:
                os.truncate(part, length)


def freeze(life: LoaderProcess) -> None:
    """Stop the process and wait until no thread is in a system call."""
    life.send(signal.SIGSTOP)
    wait_until(lambda: all(state(task) in "TZX" for task in Path(f"/proc/{life.pid}/task").iterdir()))


def state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


@pytest.fixture
def machine(aircraft: Aircraft, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: a power cut needs root to mount a file system")
    machine = Machine(fork_server, aircraft, tmp_path_factory.mktemp("machine"))
    aircraft.folder.mkdir()
    with machine.image.open("wb") as stream:
        stream.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", machine.image], check=True)
    machine.mount()
    yield machine
    machine.unmount()
    shutil.rmtree(machine.folder)


def goes_on_with_what_the_disk_has(machine: Machine, link: FaultProxy, contents: dict[str, bytes]) -> None:
    """Run a loader that receives no bytes: it reports no more progress than the disk has after the cut.

    The bucket may have had a higher value before: it is lowered now.
    """
    parts = {name: machine.aircraft.part("c", name) for name in contents}
    bytes_on_disk = {name: part.stat().st_size if part.exists() else 0 for name, part in parts.items()}
    none = link.add(Rule(ErrorResponse(503, "SlowDown"), key="*.tgz", times=None))
    first = len(link.log)
    machine.lengthen()
    run = machine.start(LOADER_TRIES="1").end()
    link.rules.remove(none)
    assert "MISMATCH" not in str(run.events)
    for name, done in machine.aircraft.progress("c").items():
        assert done <= bytes_on_disk[name] or done == len(contents[name]), (name, done, bytes_on_disk)
    for request in link.log[first:]:
        if request.range:
            start = int(request.range.removeprefix("bytes=").split("-")[0])
            assert start <= bytes_on_disk.get(Path(request.path).stem, 0), request


@pytest.mark.parametrize("point", POINTS)
def test_a_power_cut_at_a_named_instant_is_made_good(point: str, machine: Machine, invariants: Invariants) -> None:
    aircraft = machine.aircraft
    for step in STEPS:
        wanted = step(aircraft, invariants)
        life = machine.start(LOADER_CRASH_AT=point).end()
        assert life.code in (0, -signal.SIGKILL), life
        if life.code:
            machine.cut()
            invariants.check()
        assert_loaded(machine.start().end(), aircraft, invariants, wanted)
        if machine.cuts:
            return
    pytest.fail(f"{point} was never met")


@pytest.mark.parametrize("seed", range(scaled(10, quick=3)), ids="seed {}".format)
def test_a_power_cut_at_any_instant_is_made_good(
    seed: int, machine: Machine, link: FaultProxy, invariants: Invariants
) -> None:
    chance, aircraft = random.Random(seed), machine.aircraft
    contents: dict[str, bytes] = {}
    link.bandwidth = BANDWIDTH
    version = 0
    while version < 2 or machine.cuts < 2:  # a process may have exited before its due time was noticed
        version += 1
        step = min(version, 2)
        others = {f"item {at}": chance.randbytes(chance.randint(100_000, 2_500_000)) for at in range(0, 4, step)}
        contents |= others
        invariants.publishes("c", contents)
        publish(aircraft.media, "c", contents, version=version, put=others)
        for _ in range(2):
            first, limit = len(link.log), chance.randint(0, 2_000_000)
            life = machine.start()
            while not life.ended and sum(request.sent for request in link.log[first:]) < limit:
                time.sleep(0.001)
            if life.ended:
                break
            machine.cut(life)
            invariants.check()
            goes_on_with_what_the_disk_has(machine, link, contents)
        run = machine.start().end()
        assert_loaded(run, aircraft, invariants, {"c": contents})
        assert "MISMATCH" not in str(run.events)
