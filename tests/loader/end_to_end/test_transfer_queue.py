"""The queue of a tail takes effect within one poll interval, also in the middle of an item."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import queue_key
from loader.contract.manifest import Exhibition
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, first_requested_byte, publish, wait_for_exit
from tests.support.portal_system import wait_until

pytestmark = pytest.mark.processes

MIB = 1_048_576
FILM = os.urandom(6 * MIB)
BEGUN = 200_000  # bytes
SLOW = 20_000  # bytes per second: the film does not complete
SMALL = b"a trailer"
TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def _quick(aircraft: Aircraft, link: FaultProxy) -> None:
    aircraft.extra["LOADER_POLL_INTERVAL"] = "200ms"
    link.bandwidth = 400_000  # bytes per second: the film takes a quarter of a minute


@pytest.fixture
def running(aircraft: Aircraft) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start loaders that run until the end of the test, and stop them."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        started.append(aircraft.start())
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            assert wait_for_exit(process).code == 75


def order(aircraft: Aircraft, version: int, *entries: dict[str, object], **settings: object) -> None:
    body: dict[str, object] = {"schema": 1, "version": version, "settings": settings}
    if entries:
        body["entries"] = list(entries)
    aircraft.media.put(queue_key(AIRLINE, TAIL), json.dumps(body).encode())


def load(campaign: str, **more: object) -> dict[str, object]:
    return {"campaign": campaign, "action": "load", **more}


def bytes_on_disk(aircraft: Aircraft, campaign: str, content: str) -> int:
    noted = aircraft.part(campaign, content).with_suffix(".json").exists()
    return aircraft.edge(campaign, content) if noted else 0


def test_a_pause_stops_an_item_in_its_middle_and_its_end_goes_on(
    aircraft: Aircraft, link: FaultProxy, running: Callable[[], subprocess.Popen[str]]
) -> None:
    publish(aircraft.media, "c", {"film": FILM})
    running()
    wait_until(lambda: bytes_on_disk(aircraft, "c", "film") > BEGUN)
    link.bandwidth = SLOW
    order(aircraft, 1, paused=True)
    wait_until(lambda: aircraft.heartbeat().state == "paused")
    assert "queue version 1" in aircraft.heartbeat().reason
    resumed_from, asked = aircraft.edge("c", "film"), len(link.requests("GET", "*/film.tgz"))
    assert 0 < resumed_from < len(FILM)
    link.bandwidth = None
    order(aircraft, 2, paused=False)
    wait_until(lambda: aircraft.path("c", "film").exists())
    assert aircraft.path("c", "film").read_bytes() == FILM
    assert first_requested_byte(link.requests("GET", "*/film.tgz")[asked:]) == resumed_from
    wait_until(lambda: aircraft.heartbeat().queue_version == 2)


def test_no_download_starts_while_loading_is_paused(aircraft: Aircraft, link: FaultProxy) -> None:
    link.bandwidth = None
    publish(aircraft.media, "c", {f"item {number}": SMALL for number in range(20)})
    order(aircraft, 1, paused=True)
    assert aircraft.load().code == 75
    assert link.requests("GET", "*.tgz") == []


def test_a_bandwidth_limit_holds_for_an_item_that_is_on_its_way(
    aircraft: Aircraft, link: FaultProxy, running: Callable[[], subprocess.Popen[str]]
) -> None:
    publish(aircraft.media, "c", {"film": FILM})
    order(aircraft, 1, bandwidth_limit="10 kB")
    running()
    wait_until(lambda: bytes_on_disk(aircraft, "c", "film") > 0)
    link.bandwidth = None
    order(aircraft, 2)  # no longer contains a limit
    wait_until(lambda: aircraft.path("c", "film").exists())  # with the limit it would take ten minutes


def test_an_item_with_a_higher_priority_replaces_a_running_download(
    aircraft: Aircraft, link: FaultProxy, running: Callable[[], subprocess.Popen[str]]
) -> None:
    aircraft.extra["LOADER_MAX_TRANSFERS"] = "1"
    publish(aircraft.media, "big", {"film": FILM})
    publish(aircraft.media, "urgent", {"news": SMALL})
    order(aircraft, 1, load("big"))
    running()
    wait_until(lambda: bytes_on_disk(aircraft, "big", "film") > BEGUN)
    link.bandwidth = SLOW
    order(aircraft, 2, load("big"), load("urgent", priority=100))
    wait_until(lambda: aircraft.path("urgent", "news").exists())
    assert not aircraft.path("big", "film").exists()
    resumed_from = bytes_on_disk(aircraft, "big", "film")
    link.bandwidth = None
    wait_until(lambda: aircraft.path("big", "film").exists())
    assert resumed_from > 0
    assert aircraft.path("big", "film").read_bytes() == FILM


def test_only_items_of_the_queue_are_loaded(aircraft: Aircraft, link: FaultProxy) -> None:
    link.bandwidth = None
    publish(aircraft.media, "c", {"film": FILM, "trailer": SMALL})
    publish(aircraft.media, "other", {"x": SMALL})
    order(aircraft, 1, load("c", content=["trailer"]))
    assert aircraft.load().code == 0
    assert [path.name for path in aircraft.folder.glob("*/*.tgz")] == ["trailer.tgz"]
    assert link.requests("GET", "*/film.tgz") == []
    aircraft.media.delete(queue_key(AIRLINE, TAIL))
    assert aircraft.load().code == 0
    assert aircraft.path("c", "film").read_bytes() == FILM
    assert aircraft.path("other", "x").read_bytes() == SMALL


def test_an_entry_for_later_is_not_begun_before(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"trailer": SMALL})
    begins = datetime.now(UTC) + timedelta(hours=1)
    order(aircraft, 1, load("c", not_before=begins.isoformat()))
    assert aircraft.load().code == 0
    assert not aircraft.path("c", "trailer").exists()
    order(aircraft, 2, load("c", not_before=(begins - timedelta(hours=2)).isoformat()))
    assert aircraft.load().code == 0
    assert aircraft.path("c", "trailer").exists()


def test_a_purge_removes_a_campaign_and_its_reports(aircraft: Aircraft, link: FaultProxy) -> None:
    link.bandwidth = None
    past = Exhibition(TODAY - timedelta(days=60), TODAY - timedelta(days=31))
    now = Exhibition(TODAY - timedelta(days=1), TODAY + timedelta(days=20))
    publish(aircraft.media, "old", {"film": FILM}, exhibition=past)
    publish(aircraft.media, "new", {"film": SMALL}, exhibition=now)
    assert aircraft.load("--campaign", "old").code == 0
    assert aircraft.load().code == 0
    order(aircraft, 1, load("new"), {"campaign": "old", "action": "purge"})
    assert aircraft.load().code == 0
    assert not (aircraft.folder / "old").exists()
    assert aircraft.path("new", "film").read_bytes() == SMALL
    assert [report.campaign for report in aircraft.heartbeat().held] == ["new"]
    assert aircraft.progress("old") == {}
    assert aircraft.progress("new") == {"film": len(SMALL)}


def test_a_purge_of_what_another_machine_had_loaded_leaves_nothing_on_the_ground(aircraft: Aircraft) -> None:
    for report, body in {"film.tgz.progress": b"6291456", "film.tgz.error": b"TIMEOUT: no answer"}.items():
        aircraft.status.put(f"{AIRLINE}/{TAIL}/old/{report}", body)
    order(aircraft, 1, {"campaign": "old", "action": "purge"})
    assert aircraft.load().code == 0
    assert set(aircraft.reports()) == {f"{AIRLINE}/{TAIL}/loader.json"}


def test_the_current_campaign_is_not_removed_and_the_reason_is_reported(aircraft: Aircraft, link: FaultProxy) -> None:
    link.bandwidth = None
    publish(aircraft.media, "c", {"film": SMALL}, exhibition=Exhibition(date(2026, 1, 1), TODAY + timedelta(days=9)))
    assert aircraft.load().code == 0
    order(aircraft, 1, {"campaign": "c", "action": "purge"})
    assert aircraft.load().code == 0
    assert aircraft.path("c", "film").read_bytes() == SMALL
    assert "c" in str(aircraft.heartbeat().extra["queue_error"])


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"version": 2, "entries": [{"campaign": "../x", "action": "load"}]}', b'{"version": 0, "entries": []}'],
    ids=["no JSON", "a bad name", "an older version"],
)
def test_a_malformed_queue_is_reported_and_the_last_good_one_remains_in_force(aircraft: Aircraft, body: bytes) -> None:
    publish(aircraft.media, "c", {"one": SMALL, "two": SMALL})
    order(aircraft, 1, load("c", content=["one"]))
    assert aircraft.load().code == 0
    aircraft.media.put(queue_key(AIRLINE, TAIL), body)
    assert aircraft.load().code == 0
    assert aircraft.path("c", "one").exists()
    assert not aircraft.path("c", "two").exists()
    beat = aircraft.heartbeat()
    assert beat.queue_version == 1
    assert "version 1 remains current" in str(beat.extra["queue_error"])


def test_outside_its_hours_nothing_is_loaded(aircraft: Aircraft, running: Callable[[], subprocess.Popen[str]]) -> None:
    publish(aircraft.media, "c", {"trailer": SMALL})
    hour = (datetime.now(UTC) + timedelta(hours=6)).hour
    order(aircraft, 1, window=f"{hour:02}:00-{hour:02}:30")
    assert aircraft.load().code == 75
    running()
    wait_until(lambda: aircraft.heartbeat().state == "waiting")
    assert "outside the hours" in aircraft.heartbeat().reason
    assert not aircraft.path("c", "trailer").exists()
    order(aircraft, 2, window="00:00-24:00")
    wait_until(lambda: aircraft.path("c", "trailer").exists())
