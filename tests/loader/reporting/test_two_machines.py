"""Two machines with a content directory each load the same tail: one loads, the other ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.simulation.faults import ErrorResponse, Fault, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from loader.contract.heartbeat import Heartbeat, build_heartbeat
from loader.reporting.lease import TailLease
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish, wait_for_exit
from tests.support.fork_server import ForkServer
from tests.support.portal_system import wait_until as await_true

pytestmark = pytest.mark.processes
HEARTBEAT = f"{AIRLINE}/{TAIL}/loader.json"


@dataclass
class Until(Fault):
    """A slow store, until something has happened."""

    happened: threading.Event

    async def answer(self) -> None:
        while not self.happened.is_set():
            await asyncio.sleep(0.02)


@pytest.fixture
def other(aircraft: Aircraft, tmp_path: Path) -> Aircraft:
    """Return the same tail on another machine."""
    return replace(aircraft, folder=tmp_path / "other")


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    def true() -> bool:
        assert process.poll() is None
        return bool(condition())

    await_true(true)


def is_loading(aircraft: Aircraft) -> bool:
    return any(aircraft.folder.glob(".loader/parts/*/*.part"))


def silence(aircraft: Aircraft, process: subprocess.Popen[str]) -> None:
    """Freeze the process until its last heartbeat is older than a second."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.2)


def test_exactly_one_of_two_machines_loads(aircraft: Aircraft, other: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {"a": bytes(600_000)})
    one_has_ended = threading.Event()
    link.add(Rule(Until(one_has_ended), key="*/a.tgz", times=None))
    machines = (aircraft, replace(other, endpoint=link.endpoint))
    both = {one.folder.name: (one, one.start("--once", LOADER_READ_TIMEOUT="10m")) for one in machines}
    await_true(lambda: any(process.poll() is not None for _, process in both.values()))
    one_has_ended.set()
    runs = {name: wait_for_exit(process) for name, (_, process) in both.items()}
    assert sorted(run.code for run in runs.values()) == [0, 4]
    winner = next(one for name, (one, _) in both.items() if runs[name].code == 0)
    loser = next(one for name, (one, _) in both.items() if runs[name].code == 4)
    assert winner.path("c", "a").stat().st_size == 600_000
    assert sorted(path.name for path in loser.folder.rglob("*")) == [".loader", "id", "lease.json"]
    (refusal,) = runs[loser.folder.name].of("held")
    assert str(refusal["text"]).startswith(f"Another machine loads {AIRLINE}/{TAIL}: holder ")
    assert len(link.requests("GET", "*/a.tgz")) == 1
    assert {request.path.rpartition("/")[2] for request in link.requests("PUT") if request.status == 412} == {
        "loader.json"
    }
    identity = (winner.folder / ".loader/id").read_text().strip()
    beats = [json.loads(request.body) for request in link.requests("PUT", "*/loader.json") if request.status == 200]
    assert {beat["holder"] for beat in beats} == {identity}
    assert [beat.get("ended", False) for beat in beats] == [False] * (len(beats) - 1) + [True]


def test_a_replaced_machine_takes_over_at_once_after_an_orderly_end(aircraft: Aircraft, other: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    assert aircraft.load().code == 0
    assert other.load().code == 0
    assert other.path("c", "a").read_bytes() == b"content"
    assert aircraft.load().code == 0


def test_after_a_kill_the_same_directory_goes_on_at_once_and_another_one_does_not(
    aircraft: Aircraft, other: Aircraft, link: FaultProxy
) -> None:
    publish(aircraft.media, "c", {"a": bytes(600_000)})
    link.bandwidth = 20_000
    process = aircraft.start("--once")
    until(lambda: is_loading(aircraft), process)
    process.kill()
    process.communicate()
    asked = len(link.log)
    assert replace(other, endpoint=link.endpoint).load().code == 4
    written = [request for request in link.log[asked:] if request.method in ("PUT", "DELETE")]
    assert [(request.path.rpartition("/")[2], request.status) for request in written] == [("loader.json", 412)]
    link.bandwidth = None
    assert aircraft.load().code == 0
    assert link.requests("GET", "*/loader.json")[1:] == []  # of the machine that lost the lease


def test_a_silent_machine_is_taken_over_and_ends_when_it_wakes_up(
    aircraft: Aircraft, other: Aircraft, link: FaultProxy
) -> None:
    publish(aircraft.media, "c", {"a": bytes(2_000_000)})
    link.bandwidth = 50_000
    sleeper = aircraft.start(LOADER_HEARTBEAT_INTERVAL="500ms")
    processes = [sleeper]
    try:
        until(lambda: is_loading(aircraft) and aircraft.progress("c") == {"a": 0}, sleeper)
        silence(aircraft, sleeper)
        awake = other.start("--takeover-after", "1s")
        processes.append(awake)
        until(lambda: other.progress("c") == {"a": 2_000_000}, awake)
        earlier_reports = {key: body for key, body in aircraft.reports().items() if key != HEARTBEAT}
        sleeper.send_signal(signal.SIGCONT)
        run = wait_for_exit(sleeper)
        assert run.code == 4
        assert len(run.of("held")) == 1
        part_file = aircraft.part("c", "a")
        assert 0 < part_file.stat().st_size < 2_000_000
        assert not aircraft.path("c", "a").exists()
        assert {key: body for key, body in aircraft.reports().items() if key != HEARTBEAT} == earlier_reports
        awake.terminate()
        assert wait_for_exit(awake).code == 75
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_while_the_status_bucket_is_away_content_is_loaded_and_the_tail_judged_afterwards(
    aircraft: Aircraft, other: Aircraft, link: FaultProxy
) -> None:
    publish(aircraft.media, "c", {"a": b"content", "b": bytes(3_000_000)})
    holder = TailLease(aircraft.status, HEARTBEAT, [], takeover_after=420)
    holder.write(build_heartbeat(holder.with_holder(Heartbeat(loader="1", state="idle"), ended=False)))
    away = link.add(Rule(ErrorResponse(503, "SlowDown"), method="PUT", times=None))
    link.bandwidth = 50_000
    process = replace(other, endpoint=link.endpoint).start()
    until(lambda: other.path("c", "a").exists(), process)
    assert list(aircraft.reports()) == [HEARTBEAT]
    assert away.hits
    link.rules.remove(away)
    assert wait_for_exit(process).code == 4
    assert list(aircraft.reports()) == [HEARTBEAT]
    assert other.part("c", "b").exists()


def test_the_minimal_permissions_suffice_and_a_refused_heartbeat_names_the_missing_one(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    write = ("Read:films/ACME/*", "List:films/ACME/*", f"Write:reports/{AIRLINE}/{TAIL}/*")
    people = [Identity("blind", write), Identity("able", (*write, f"Read:reports/{AIRLINE}/{TAIL}/loader.json*"))]
    with SeaweedFS(tmp_path / "store", identities=people) as store:
        media, status = store.create_bucket("films"), store.create_bucket("reports")
        publish(media, "c", {"a": b"content"})

        def machine(name: str, who: str) -> Aircraft:
            keys = store.environment(who)
            return Aircraft(tmp_path / name, store.endpoint, keys, media, status, starter=fork_server.popen)

        first = machine("first", "able").start()
        until(lambda: machine("first", "able").path("c", "a").exists(), first)
        refused, lost = machine("second", "blind").load(), machine("second", "able").load()
        first.terminate()
        assert wait_for_exit(first).code == 75
        assert (refused.code, lost.code) == (4, 4)
        assert "Allow s3:GetObject on ACME/D-ABCD/loader.json" in str(refused.of("held")[0]["text"])
        assert "Another machine loads" in str(lost.of("held")[0]["text"])
        assert machine("second", "able").load().code == 0
        assert machine("second", "blind").load().code == 0
