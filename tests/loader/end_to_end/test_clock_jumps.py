"""The machine's clock jumps, or the store's Date is wrong: nothing is removed until both agree again.

The clock is libfaketime's, which reads its offset from a file at every call. Monotonic clocks are unaffected.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from fleet.simulation.faults import Fault, Head, Rule
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import queue_key
from loader.contract.manifest import Exhibition
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, Run, publish, wait_for_exit
from tests.support.portal_system import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.root]

ITEM = 2_500_000  # bytes; two of them fit the disk, three do not
NOW = datetime.now(UTC)
DECEMBER, JANUARY, FEBRUARY = (os.urandom(ITEM) for _ in range(3))


def days(starts: int, ends: int) -> Exhibition:
    return Exhibition(NOW.date() + timedelta(starts), NOW.date() + timedelta(ends))


@pytest.fixture(autouse=True)
def _full(aircraft: Aircraft, link: FaultProxy, small_disk: Path) -> None:
    """The current and the next campaign fill the disk; a third does not fit."""
    aircraft.extra |= {"LOADER_RESERVE": "1MB", "LOADER_POLL_INTERVAL": "200ms", "LOADER_HEARTBEAT_INTERVAL": "300ms"}
    aircraft.extra["LOADER_REPORT_TIMEOUT"] = "500ms"
    publish(aircraft.media, "december", {"film": DECEMBER}, exhibition=days(-10, 20))
    publish(aircraft.media, "january", {"film": JANUARY}, exhibition=days(21, 50))
    assert aircraft.load().code == 0
    publish(aircraft.media, "february", {"film": FEBRUARY}, exhibition=days(51, 7000))


class Clock:
    """The clock of one process."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.go(0)

    def go(self, days: int) -> None:
        """Set the clock to `days` days ahead of the real one."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{days:+d}d\n")
        fresh.rename(self._offset)

    @property
    def environment(self) -> dict[str, str]:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; without a cache every look at the clock reads the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def process(aircraft: Aircraft, clock: Clock) -> Iterator[subprocess.Popen[str]]:
    """A loader with this clock that runs until it is stopped."""
    process = aircraft.start(**clock.environment)
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


def refused(link: FaultProxy) -> int:
    return sum(request.status == 403 for request in link.log)


def stop(process: subprocess.Popen[str]) -> Run:
    process.terminate()
    run = wait_for_exit(process)
    assert (run.code, run.stderr) == (75, "")
    return run


def days_ahead(event: dict[str, object]) -> float:
    """Return by how many days its clock was ahead."""
    return (datetime.fromisoformat(str(event["at"])) - NOW).total_seconds() / 86_400


def ahead(run: Run) -> float:
    """Return the largest number of days that its clock was ahead."""
    return max(map(days_ahead, run.events))


def order(aircraft: Aircraft, *entries: dict[str, str]) -> None:
    aircraft.media.put(queue_key(AIRLINE, TAIL), json.dumps({"version": 1, "entries": entries}).encode())


@pytest.mark.parametrize("jump", [40, *(pytest.param(days, marks=pytest.mark.thorough) for days in (5000, -5000))])
def test_the_current_campaign_is_not_removed_after_a_clock_jump(
    aircraft: Aircraft, link: FaultProxy, clock: Clock, process: subprocess.Popen[str], jump: int
) -> None:
    wait_until(lambda: "film" in aircraft.errors())
    assert refused(link) == 0
    clock.go(jump)
    wait_until(lambda: refused(link) > 12)  # several polls
    run = stop(process)
    assert any(abs(days_ahead(event) - jump) < 1 for event in run.events)
    assert any(event.get("code") == "CLOCK_SKEW" for event in run.of("waiting") + run.of("look"))
    assert run.of("removed") == []
    assert aircraft.path("december", "film").read_bytes() == DECEMBER
    assert aircraft.path("january", "film").read_bytes() == JANUARY


def test_a_purge_of_the_current_campaign_is_refused_after_a_clock_jump(
    aircraft: Aircraft, link: FaultProxy, clock: Clock, process: subprocess.Popen[str]
) -> None:
    later = (NOW + timedelta(days=30)).isoformat()
    order(
        aircraft,
        {"campaign": "december", "action": "purge"},
        {"campaign": "january", "action": "purge", "not_before": later},
    )
    wait_until(lambda: "december is not removed" in str(aircraft.heartbeat().extra.get("queue_error")))
    clock.go(5000)
    wait_until(lambda: refused(link) > 12)
    run = stop(process)
    assert ahead(run) > 4999
    assert run.of("removed") == []
    assert aircraft.path("december", "film").read_bytes() == DECEMBER
    assert aircraft.path("january", "film").read_bytes() == JANUARY


def test_a_run_with_a_wrong_clock_removes_no_content(aircraft: Aircraft, link: FaultProxy, clock: Clock) -> None:
    why = "the store has not answered yet, so the local clock cannot be trusted"
    order(aircraft, {"campaign": "december", "action": "purge"})
    assert aircraft.load().of("removed") == []  # the campaign is current; the queue is stored on disk
    clock.go(40)
    run = aircraft.load(**clock.environment)
    assert ahead(run) > 39
    assert refused(link) > 0
    assert run.of("removed") == []
    assert [event["text"] for event in run.of("kept")] == [f"december is not removed: {why}"]
    assert aircraft.path("december", "film").read_bytes() == DECEMBER


class OtherDate(Fault):
    """A proxy or store that sends another Date; the rest of the response is right."""

    def head(self, head: Head) -> None:
        head.drop("Date")
        head.headers["Date"] = format_datetime(datetime.now(UTC) + timedelta(days=40), usegmt=True)


def load_old_campaign(aircraft: Aircraft) -> None:
    """The expired campaign is on disk and the next one is not."""
    (aircraft.folder / "january" / "film.tgz").unlink()
    aircraft.media.delete(f"{AIRLINE}/january/campaign.json")
    aircraft.media.delete(f"{AIRLINE}/january/film.tgz")
    publish(aircraft.media, "november", {"film": JANUARY}, exhibition=days(-40, -11))
    aircraft.media.delete(f"{AIRLINE}/february/campaign.json")
    assert aircraft.load("--campaign", "november").code == 0
    publish(aircraft.media, "february", {"film": FEBRUARY}, exhibition=days(51, 7000), put=())


def test_ended_campaigns_are_removed_only_while_clock_and_store_agree(aircraft: Aircraft, link: FaultProxy) -> None:
    load_old_campaign(aircraft)
    rule = Rule(OtherDate(), method="*", times=None)
    link.add(rule)
    run = aircraft.load()
    assert rule.hits > 0
    assert (run.code, run.of("removed")) == (1, [])
    assert "the local clock is 40 days behind the store's" in aircraft.errors()["film"]
    assert aircraft.path("november", "film").read_bytes() == JANUARY
    link.rules.clear()
    run = aircraft.load()
    assert run.code == 0
    assert len(run.of("removed")) == 1
    assert not (aircraft.folder / "november").exists()
    assert aircraft.path("february", "film").read_bytes() == FEBRUARY
    assert aircraft.path("december", "film").read_bytes() == DECEMBER
