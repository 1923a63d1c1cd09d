"""A campaign is published, the real command loads it, and all files and reports are right."""

from __future__ import annotations

import os
from datetime import date, timedelta

import pytest

from fleet.simulation.proxy import FaultProxy
from loader.contract.manifest import Exhibition
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish, wait_for_exit
from tests.support.portal_system import wait_until

CONTENTS = {
    "movie-001": os.urandom(2_500_000),
    "Fünf Freunde und ein Wal": os.urandom(1_048_576),
    "電影 №7 (director's cut) 100%": os.urandom(70_000),
    "empty": b"",
    "a+b=c & d?e#f": b"x",
}

pytestmark = pytest.mark.processes


def test_all_items_are_loaded_and_reported(aircraft: Aircraft) -> None:
    publish(aircraft.media, "2026-12", CONTENTS, version=3)
    run = aircraft.load()
    assert (run.code, run.stderr) == (0, "")
    for name, body in CONTENTS.items():
        assert aircraft.path("2026-12", name).read_bytes() == body
    assert aircraft.progress("2026-12") == {name: len(body) for name, body in CONTENTS.items()}
    assert aircraft.errors() == {}
    assert aircraft.left_over() == []
    heartbeat = aircraft.heartbeat()
    assert (heartbeat.loader, heartbeat.state) == ("0.1.0", "idle")
    assert [(report.campaign, report.items, report.verified) for report in heartbeat.held] == [("2026-12", 5, True)]
    assert [store.path for store in heartbeat.stores] == [str(aircraft.folder)]
    assert {event["event"] for event in run.events} >= {"start", "plan", "began", "finished", "pass", "end"}
    assert run.events[-1]["exit"] == 0


def test_a_second_run_downloads_nothing_and_reports_no_change(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "2026-12", CONTENTS)
    assert aircraft.load().code == 0
    before = len(link.log)
    assert aircraft.load().code == 0
    asked = [(request.method, request.path.rpartition("/")[2]) for request in link.log[before:]]
    assert [one for one in asked if one[0] == "GET"] == [("GET", f"{TAIL}.json"), ("GET", "campaign.json")]
    assert {one for one in asked if one[0] in ("PUT", "DELETE")} == {("PUT", "loader.json")}


def test_a_manifest_of_names_and_sizes_alone_is_enough(aircraft: Aircraft) -> None:
    aircraft.media.put(
        f"{AIRLINE}/plain/campaign.json", b'[{"name": "one.tgz", "size": 5}, {"name": "two", "size": 0}]'
    )
    aircraft.media.put(f"{AIRLINE}/plain/one.tgz", b"bytes")
    aircraft.media.put(f"{AIRLINE}/plain/two.tgz", b"")
    run = aircraft.load()
    assert run.code == 0
    assert aircraft.progress("plain") == {"one": 5, "two": 0}
    assert [event["verified"] for event in run.of("finished")] == [False, False]
    assert [report.verified for report in aircraft.heartbeat().held] == [False]


def test_every_item_gets_a_first_progress_of_nothing(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "2026-12", {f"item-{at}": os.urandom(200_000) for at in range(4)})
    link.bandwidth = 20_000  # no item completes before all have reported their start
    process = aircraft.start("--once")
    wait_until(lambda: len({request.path for request in link.requests("PUT", "*.tgz.progress")}) == 4)
    link.bandwidth = None
    assert wait_for_exit(process).code == 0
    for at in range(4):
        reported = [request.body for request in link.requests("PUT", f"*/item-{at}.tgz.progress")]
        assert (reported[0], reported[-1]) == (b"0", b"200000")


def test_ended_campaigns_are_passed_over_unless_named(aircraft: Aircraft) -> None:
    over = Exhibition(ends=date.today() - timedelta(days=2))
    publish(aircraft.media, "past", {"a": b"old"}, exhibition=over)
    publish(aircraft.media, "now", {"a": b"new"})
    assert aircraft.load().code == 0
    assert not aircraft.path("past", "a").exists()
    assert aircraft.progress("past") == {}
    assert aircraft.load("--campaign", "past").code == 0
    assert aircraft.path("past", "a").read_bytes() == b"old"


def test_only_its_own_airline_is_read_and_only_its_own_prefix_written(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "2026-12", {"a": b"ours"})
    publish(aircraft.media, "2026-12", {"a": b"theirs"}, airline="BETA")
    assert aircraft.load().code == 0
    assert aircraft.path("2026-12", "a").read_bytes() == b"ours"
    assert all(key.startswith(f"{AIRLINE}/{TAIL}/") for key in aircraft.reports())
    assert link.requests("*", "*BETA*") == []


def test_items_are_distributed_over_several_directories_and_are_not_moved(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"1" * 1000, "b": b"2" * 1000})
    other = aircraft.folder.with_name("other disk")
    both = f"{aircraft.folder}:{other}"
    assert aircraft.load(LOADER_CONTENT_DIR=str(other), LOADER_CAMPAIGN="c").code == 0
    run = aircraft.load(LOADER_CONTENT_DIR=both)
    assert run.code == 0
    assert run.of("began") == []
    assert not (aircraft.folder / "c").exists()
    assert len(aircraft.heartbeat().stores) == 2


def test_the_bandwidth_limit_holds_for_all_items_together(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", {name: os.urandom(300_000) for name in "abc"})
    run = aircraft.load("--bandwidth-limit", "600kB")
    assert run.code == 0
    began, ended = (event["at"] for event in (run.of("began")[0], run.of("finished")[-1]))
    assert str(began) < str(ended)
    from_to = [float(str(at)[17:23]) for at in (began, ended)]
    assert (from_to[1] - from_to[0]) % 60 >= 1.1
