"""`simulate_fleet` writes its plan to a real store, leaves other objects alone, and removes its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from fleet.demo.aircraft import MANAGE
from fleet.simulation.expected import expected_after_count
from fleet.simulation.plan import FleetPlan, PlannedWrite, initial_reports
from fleet.simulation.run import MARKER
from fleet.simulation.traffic import changes
from fleet.simulation.writer import ParallelWriter
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.errors import Code, ExitCode, WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import Bucket
from loader.s3.memory import MemoryBucket
from tests.support.portal_forks import popen

OPTIONS = ["--airlines", "2", "--tails", "3", "--items", "2", "--size", "20MB", "--rate", "400", "--failing", "50%"]
PLAN = FleetPlan(airlines=2, tails=3, items=2, size=20_000_000, rate=400.0, failing=0.5)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restore the signal handlers of the test process, which the command replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBucket, MemoryBucket]:
    media, status = MemoryBucket("media"), MemoryBucket("status")
    use(monkeypatch, media, status)
    return media, status


def use(monkeypatch: pytest.MonkeyPatch, media: Bucket, status: Bucket) -> None:
    monkeypatch.setattr("fleet.management.commands.simulate_fleet.media_bucket", lambda: media)
    monkeypatch.setattr("fleet.management.commands.simulate_fleet.status_bucket", lambda: status)


def simulate(*options: str) -> Any:
    out = StringIO()
    call_command("simulate_fleet", *options, "--json", stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


def refusal(*options: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        simulate(*options)
    return caught.value


def objects(bucket: Bucket) -> dict[str, bytes]:
    found = {}
    for info in bucket.list():
        fetched = bucket.get(info.key, 65_536)
        if fetched is not None and not info.key.endswith(f"/{MARKER}"):
            found[info.key] = fetched.body
    return found


def planned(plan: FleetPlan) -> dict[str, bytes]:
    """Return the status bucket without heartbeats, which contain the time."""
    written: dict[str, bytes] = {}
    for change in [*initial_reports(plan), *changes(plan)]:
        if change.body is None:
            del written[change.key]
        else:
            written[change.key] = change.body
    return {key: body for key, body in written.items() if not key.endswith("/loader.json")}


def test_a_real_store_contains_only_the_planned_objects_and_none_after_removal(
    media: S3Bucket, status: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, media, status)
    report = simulate(*OPTIONS)
    count = len(list(changes(PLAN)))
    assert (report["announced"], report["changes"], report["lost"]) == (12, count, 0)
    assert report["puts"] + report["deletes"] == count
    assert report["deletes"] > 0
    stored = objects(status)
    assert {key: body for key, body in stored.items() if not key.endswith("/loader.json")} == planned(PLAN)
    assert sum(key.endswith("/loader.json") for key in stored) == 6
    assert objects(media) == {f"SIM00{n + 1}/2026-12/campaign.json": PLAN.manifest(n) for n in range(2)}
    status.put("SIMPLE/N1/2026-12/a.tgz.progress", b"0")
    simulate("--remove")
    assert objects(status) == {"SIMPLE/N1/2026-12/a.tgz.progress": b"0"}
    assert not list(media.list())
    assert simulate(*OPTIONS)["changes"] == count, "removed is as if it had never been"


def test_the_simulation_ends_at_the_requested_time(buckets: tuple[MemoryBucket, MemoryBucket]) -> None:
    assert simulate(*OPTIONS, "--for", "100ms")["changes"] == 40


def test_without_media_no_manifest_is_written(buckets: tuple[MemoryBucket, MemoryBucket]) -> None:
    simulate(*OPTIONS, "--no-media", "--for", "10ms")
    assert not list(buckets[0].list())


@pytest.mark.parametrize("options", [[], ["--no-media"]])
@pytest.mark.parametrize("place", [0, 1])
def test_objects_of_an_airline_of_the_same_name_are_never_touched(
    buckets: tuple[MemoryBucket, MemoryBucket], place: int, options: list[str]
) -> None:
    buckets[place].put("SIM002/2026-12/campaign.json", b"{}")
    error = refusal(*OPTIONS, *options)
    assert error.returncode == ExitCode.USAGE
    assert "an airline SIM002 that simulate_fleet did not write. Choose other names with --airline-prefix" in str(error)
    simulate("--remove")
    assert objects(buckets[place]) == {"SIM002/2026-12/campaign.json": b"{}"}
    assert not list(buckets[1 - place].list())
    assert simulate(*OPTIONS, *options, "--for", "10ms", "--airline-prefix", "TRY")["changes"] == 4


def test_an_earlier_run_is_not_written_over(buckets: tuple[MemoryBucket, MemoryBucket]) -> None:
    simulate(*OPTIONS, "--for", "10ms")
    error = refusal(*OPTIONS)
    assert error.returncode == ExitCode.USAGE
    assert "an earlier simulation of SIM001. Delete it with simulate_fleet --remove" in str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--airlines", "0"],
        ["--failing", "60%", "--stalling", "60%"],
        ["--campaign", "a/b"],
        ["--size", "much"],
        ["--foreign", "some"],
        ["--for", "ever"],
        ["--airline-prefix", "/"],
    ],
)
def test_an_impossible_plan_is_refused_before_any_write(
    buckets: tuple[MemoryBucket, MemoryBucket], wrong: list[str]
) -> None:
    refusal(*wrong)
    assert not [*buckets[0].list(), *buckets[1].list()]


def test_when_stopped_it_finishes_the_current_change_and_reports_progress(
    seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket
) -> None:
    names = {"MEDIA_BUCKET": media.name, "STATUS_BUCKET": status.name, "DEBUG": "1"}
    command = [sys.executable, str(MANAGE), "simulate_fleet", *OPTIONS, "--rate", "20", "--size", "2GB", "--json"]
    environment = {**os.environ, **seaweed.environment(), **names}
    with popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr is not None
            assert any("items announced" in line for line in child.stderr)
            while not any(body != b"0" for body in objects(status).values()):
                assert child.poll() is None
            child.send_signal(signal.SIGTERM)
            out, _ = child.communicate()
        finally:
            child.kill()
    report = json.loads(out)
    assert child.returncode == 0
    assert report["lost"] == 0
    plan = FleetPlan(airlines=2, tails=3, items=2, size=2_000_000_000, rate=20.0, failing=0.5)
    assert 0 < report["changes"] < len(list(changes(plan)))
    truth = expected_after_count(plan, report["changes"])
    stored = objects(status)
    for row in truth.transfers():
        assert int(stored[f"{row.airline}/{row.tail}/2026-12/{row.content}.tgz.progress"]) == row.bytes_done


class Flaky(MemoryBucket):
    """A bucket in which every other write fails, as if the store were unreachable."""

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code
        self.refused = 0
        self._gate = threading.Lock()

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        with self._gate:
            self.refused += 1
            if self.refused % 2:
                raise WorldError(self.code)
        return super().put(key, body, if_none_match=if_none_match, if_match=if_match)


ONE_AFTER_THE_OTHER = [PlannedWrite(0.0, f"A/{tail}/C/a.tgz.progress", b"%d" % n) for n in range(3) for tail in "xy"]


def test_the_simulation_waits_for_an_unreachable_store_and_preserves_the_order() -> None:
    bucket = Flaky(Code.NETWORK)
    with ParallelWriter(bucket, threading.Event()) as pouring:
        assert pouring.write_all(ONE_AFTER_THE_OTHER, lambda: None, paced=True) == 6
    assert bucket.refused > 6
    assert (pouring.puts, pouring.lost, pouring.failure) == (6, 0, None)
    assert set(objects(bucket).values()) == {b"2"}
    assert pouring.maximum_lag > 0


def test_a_store_that_refuses_ends_it() -> None:
    bucket = Flaky(Code.FORBIDDEN)
    with ParallelWriter(bucket, threading.Event()) as pouring:
        taken = pouring.write_all(ONE_AFTER_THE_OTHER, lambda: None, paced=True)
    assert pouring.failure is not None
    assert pouring.failure.code == "FORBIDDEN"
    assert pouring.puts + pouring.lost == taken


def test_the_exit_code_reports_a_store_that_refuses_from_the_start(
    monkeypatch: pytest.MonkeyPatch, buckets: tuple[MemoryBucket, MemoryBucket]
) -> None:
    use(monkeypatch, buckets[0], Flaky(Code.FORBIDDEN))
    assert refusal(*OPTIONS).returncode == ExitCode.UNREACHABLE
