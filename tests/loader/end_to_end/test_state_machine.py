"""Any order of events of store, disk, status bucket and loader: the invariants hold after every step.

Hypothesis chooses the steps; store, disk and processes are real. At the end all faults are repaired, then everything
must be loaded. A failure prints its steps; the seed is in the name of the test.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fleet.simulation.faults import Reset, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.keys import content_key, manifest_key
from tests.support.aircraft import AIRLINE, Aircraft, publish
from tests.support.bucket_pool import FreshBuckets
from tests.support.fork_server import ForkServer, LoaderProcess
from tests.support.invariants import Invariants
from tests.support.portal_system import wait_until
from tests.support.profiles import scaled

pytestmark = [pytest.mark.processes, pytest.mark.root]

VOYAGES, STEPS = scaled(40, quick=2), 14
DISK = 16 * 1_048_576  # bytes
QUICK = {"LOADER_REPORT_TIMEOUT": "500ms"}

campaigns = st.sampled_from(["c", "d"])
items = st.integers(0, 2)
numbers = st.integers(0, 2**32)


class Voyage(RuleBasedStateMachine):
    """The model: published content, corrupt objects, and what is unavailable."""

    def __init__(self, mount: Path, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer) -> None:
        super().__init__()
        self.mount, self.aircraft, self.link, self.fork_server = mount, aircraft, link, fork_server
        self.filler = mount / "filler"
        self.filler.touch()
        self.wanted: dict[str, dict[str, bytes]] = {}
        self.version = 0
        self.spoiled: set[tuple[str, str]] = set()
        self.gone: set[str] = set()
        self.away: dict[str, Rule] = {}
        self.patient = False  # the bucket was unavailable, so it waits longer before the next poll
        self.resident: LoaderProcess | None = None
        self.boot = mount / "boot_id"
        self.boot.write_text(f"{uuid.uuid4()}\n")
        self.loader_invariants = Invariants(aircraft, mount)

    # The ground.

    @initialize(number=numbers)
    def begins(self, number: int) -> None:
        self.publishes("c", {0, 1}, number)

    @rule(campaign=campaigns, which=st.sets(items, min_size=1), number=numbers)
    def publishes(self, campaign: str, which: set[int], number: int) -> None:
        chance = random.Random(number)
        others = {f"{campaign}{at}": chance.randbytes(chance.randint(0, 300_000)) for at in which}
        contents = {**self.wanted.get(campaign, {}), **others}
        self.version += 1
        self.loader_invariants.publishes(campaign, contents)
        spoiled = {name for where, name in self.spoiled if where == campaign}
        publish(self.aircraft.media, campaign, contents, version=self.version, put={*others, *spoiled})
        self.spoiled -= {(campaign, name) for name in contents}
        self.gone.discard(campaign)
        self.wanted[campaign] = contents

    @rule(campaign=campaigns, at=items, number=numbers)
    def replaces_an_object(self, campaign: str, at: int, number: int) -> None:
        body = self.wanted.get(campaign, {}).get(f"{campaign}{at}", b"")
        if body:
            other = random.Random(number).randbytes(len(body))
            self.aircraft.media.put(content_key(AIRLINE, campaign, f"{campaign}{at}"), other)
            self.spoiled.add((campaign, f"{campaign}{at}"))

    @rule(campaign=campaigns, at=items)
    def deletes_an_object(self, campaign: str, at: int) -> None:
        if f"{campaign}{at}" in self.wanted.get(campaign, {}):
            self.aircraft.media.delete(content_key(AIRLINE, campaign, f"{campaign}{at}"))
            self.spoiled.add((campaign, f"{campaign}{at}"))

    @rule(campaign=campaigns)
    def deletes_a_manifest(self, campaign: str) -> None:
        if campaign in self.wanted:
            self.aircraft.media.delete(manifest_key(AIRLINE, campaign))
            self.gone.add(campaign)

    # The link and the disk.

    @rule(bucket=st.sampled_from(["media", "status"]))
    def a_bucket_goes_away(self, bucket: str) -> None:
        if bucket not in self.away:
            name = (self.aircraft.media if bucket == "media" else self.aircraft.status).name
            rule = Rule(Reset(), method="*", key=f"{name}*", times=None)
            self.away[bucket] = self.link.add(rule)
            self.patient = True

    @rule()
    def the_buckets_are_back(self) -> None:
        self.link.rules.clear()
        self.away.clear()

    @rule(left=st.integers(0, 200_000))
    def somebody_fills_the_disk(self, left: int) -> None:
        free = os.statvfs(self.mount)
        size = self.filler.stat().st_size + free.f_bavail * free.f_frsize - left
        with self.filler.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, max(1, size // 4096 * 4096))
            except OSError as error:
                # The loader's own writes may have filled it too.
                if error.errno != errno.ENOSPC:
                    raise

    @rule()
    def the_disk_is_freed(self) -> None:
        os.truncate(self.filler, 0)

    # The loader.

    @precondition(lambda self: self.resident is None)
    @rule()
    def runs_once(self) -> None:
        run = self.start("--once").end()
        assert run.code in (0, 1, 75), run
        assert run.stderr == ""
        if not self.away and self.filler.stat().st_size == 0:
            self.what_is_well_is_aboard(run.code)

    @precondition(lambda self: self.resident is None)
    @rule(requests=st.integers(0, 25))
    def is_killed(self, requests: int) -> None:
        since, life = len(self.link.log), self.start("--once")
        while len(self.link.log) - since < requests and not life.ended:
            time.sleep(0.001)
        life.kill()

    @precondition(lambda self: self.resident is None)
    @rule()
    def the_machine_starts_anew(self) -> None:
        """Restart the machine without data loss; `test_power_cut` covers losses."""
        self.boot.write_text(f"{uuid.uuid4()}\n")

    @precondition(lambda self: self.resident is None)
    @rule()
    def begins_to_stay(self) -> None:
        self.resident = life = self.start("--poll-interval", "50ms")
        self.patient = bool(self.away)
        self.until(lambda: life.printed.exists() and life.printed.read_text())

    @precondition(lambda self: self.resident is not None and not self.patient)
    @rule()
    def polls(self) -> None:
        """Wait until the loader has polled the media bucket again."""
        since = len(self.link.requests("LIST"))
        self.until(lambda: len(self.link.requests("LIST")) > since)

    @precondition(lambda self: self.resident is not None)
    @rule(number=st.sampled_from([signal.SIGTERM, signal.SIGKILL]))
    def ends(self, number: signal.Signals) -> None:
        assert self.resident is not None
        self.resident.send(number)
        run = self.resident.end()
        assert run.code == (75 if number is signal.SIGTERM else -number), run
        self.resident = None

    def start(self, *options: str) -> LoaderProcess:
        # Wait for all reports, however long they take.
        more = QUICK if self.away else {}
        return self.fork_server.start(self.aircraft.environment(LOADER_TRIES="2", **more), *options, boot=self.boot)

    def until(self, condition: Callable[[], object]) -> None:
        def true() -> bool:
            assert self.resident is None or not self.resident.ended, self.resident.end()
            return bool(condition())

        wait_until(true)

    # Invariants.

    @invariant()
    def no_promise_is_broken(self) -> None:
        self.loader_invariants.check()
        assert self.loader_invariants.broken == []

    def what_is_well_is_aboard(self, code: int) -> None:
        """Check I4 after a run that only the store's own content could disturb."""
        errors = self.aircraft.errors()
        for campaign, contents in self.wanted.items():
            bad = {name for name in contents if (campaign, name) in self.spoiled}
            assert not {name for name in contents if name in errors} - bad
            if campaign in self.gone:
                assert campaign in errors
            elif not bad:
                folder = self.aircraft.folder / campaign
                assert {path.stem: path.read_bytes() for path in folder.iterdir()} == contents
        assert bool(errors) == bool(code)

    def teardown(self) -> None:
        """Repair all faults, then check that everything is loaded."""
        if self.resident is not None:
            self.ends(signal.SIGTERM)
        self.the_buckets_are_back()
        self.the_disk_is_freed()
        for campaign, contents in self.wanted.items():
            publish(self.aircraft.media, campaign, contents, version=self.version + 1)
        self.spoiled.clear()
        self.gone.clear()
        self.runs_once()
        self.no_promise_is_broken()
        assert self.aircraft.errors() == {}
        assert self.aircraft.left_over() == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: a disk that fills up needs root to mount a small file system")
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("number", [1], ids="seed {}".format)
@pytest.mark.slow("a loader process in each of many steps")
def test_promises_hold_in_any_order_of_events(
    number: int, disk: Path, seaweed: SeaweedFS, fresh_buckets: FreshBuckets, fork_server: ForkServer
) -> None:
    voyages = itertools.count()

    class Here(Voyage):
        """The model with new buckets and a new directory, without faults."""

        def __init__(self) -> None:
            link.rules.clear()
            link.log.clear()
            for before in disk.glob("*/filler"):
                os.truncate(before, 0)
            mount = disk / str(next(voyages))
            mount.mkdir()
            media, status = fresh_buckets.take(), fresh_buckets.take()
            keys = seaweed.environment()
            super().__init__(mount, Aircraft(mount / "content", link.endpoint, keys, media, status), link, fork_server)

    with FaultProxy(seaweed.endpoint) as link:
        run_state_machine_as_test(
            seed(number)(Here),
            settings=settings(
                max_examples=VOYAGES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                print_blob=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
