"""A new version of a campaign is staged beside the old one, activated when complete, and nothing is fetched twice."""

from __future__ import annotations

import os
import signal

import pytest

from fleet.simulation.faults import FlipByte, Rule
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key, manifest_key
from tests.support.aircraft import AIRLINE, Aircraft, publish, wait_for_exit
from tests.support.portal_system import wait_until

pytestmark = pytest.mark.processes

OLD = {"kept": os.urandom(300_000), "changed": os.urandom(200_000), "gone": b"bye"}
NEW = {"kept": OLD["kept"], "changed": os.urandom(250_000), "new": b"hello"}


def on_disk(aircraft: Aircraft) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (aircraft.folder / "c").iterdir()}


def test_items_removed_by_a_new_version_are_no_longer_reported(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"kept": b"one", "dropped": b"two"})
    assert aircraft.load().code == 0
    publish(aircraft.media, "c", {"kept": b"one"}, version=2)
    assert aircraft.load().code == 0
    assert not aircraft.path("c", "dropped").exists()
    assert aircraft.progress("c") == {"kept": 3}


def test_only_changes_are_downloaded_and_the_old_version_remains_until_the_new_one_is_complete(
    aircraft: Aircraft, link: FaultProxy
) -> None:
    publish(aircraft.media, "c", OLD)
    assert aircraft.load().code == 0
    publish(aircraft.media, "c", NEW, version=2)
    spoiled = link.add(Rule(FlipByte(), key="*/changed.tgz", times=None))
    assert aircraft.load().code == 1
    assert spoiled.hits == 2
    assert on_disk(aircraft) == OLD
    summary = aircraft.progress("c")
    assert (summary["kept"], summary["new"], summary["changed"]) == (300_000, 0, 0)
    link.rules.clear()
    before = len(link.log)
    assert aircraft.load().code == 0
    assert on_disk(aircraft) == NEW
    assert [request.path.rpartition("/")[2] for request in link.log[before:] if request.path.endswith(".tgz")] == [
        "changed.tgz"
    ]
    assert {name: done for name, done in aircraft.progress("c").items() if name in NEW} == {
        name: len(body) for name, body in NEW.items()
    }
    assert aircraft.left_over() == []


def test_a_kill_in_the_middle_of_a_switch_fetches_nothing_again(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", OLD)
    assert aircraft.load().code == 0
    # Same size as before: only its state distinguishes the new version from the old one.
    new = {**OLD, "changed": os.urandom(len(OLD["changed"])), "kept": os.urandom(len(OLD["kept"]))}
    publish(aircraft.media, "c", new, version=2)
    assert aircraft.load(LOADER_CRASH_AT="switch-halfway").code == -signal.SIGKILL
    before = len(link.log)
    assert aircraft.load().code == 0
    assert on_disk(aircraft) == new
    assert [request.path for request in link.log[before:] if request.path.endswith(".tgz")] == []
    assert aircraft.progress("c") == {name: len(body) for name, body in new.items()}


def test_a_rewritten_manifest_with_the_same_content_causes_no_download(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", OLD)
    assert aircraft.load().code == 0
    publish(aircraft.media, "c", OLD, version=2)
    before = len(link.log)
    assert aircraft.load().code == 0
    assert [request for request in link.log[before:] if request.path.endswith(".tgz")] == []


def test_without_hashes_a_new_version_fetches_what_is_another_object(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", OLD, hashed=False)
    assert aircraft.load().code == 0
    other = {**OLD, "changed": os.urandom(200_000)}
    publish(aircraft.media, "c", other, hashed=False, version=2)
    before = len(link.log)
    assert aircraft.load().code == 0
    assert on_disk(aircraft) == other
    assert [request.path.rpartition("/")[2] for request in link.log[before:] if request.path.endswith(".tgz")] == [
        "changed.tgz"
    ]


def test_manually_copied_content_is_read_and_not_downloaded(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", OLD)
    for name, body in OLD.items():
        aircraft.path("c", name).parent.mkdir(parents=True, exist_ok=True)
        aircraft.path("c", name).write_bytes(body if name != "gone" else b"BYE")
    assert aircraft.load().code == 0
    assert on_disk(aircraft) == OLD
    assert [request.path.rpartition("/")[2] for request in link.log if request.path.endswith(".tgz")] == ["gone.tgz"]


def test_a_running_loader_retries_bad_content_only_after_it_changes(aircraft: Aircraft, link: FaultProxy) -> None:
    publish(aircraft.media, "c", OLD)
    key = content_key(AIRLINE, "c", "changed")
    aircraft.media.put(key, OLD["changed"][:-1] + bytes([OLD["changed"][-1] ^ 1]))
    process = aircraft.start("--poll-interval", "100ms")
    wait_until(lambda: len(link.requests("*", "*/changed.tgz")) == 2)
    looks = len(link.requests("*", "*/campaign.json"))
    wait_until(lambda: len(link.requests("*", "*/campaign.json")) >= looks + 5)
    assert len(link.requests("*", "*/changed.tgz")) == 2
    assert aircraft.errors()["changed"].startswith("HASH_MISMATCH")
    aircraft.media.put(key, OLD["changed"])
    wait_until(lambda: not aircraft.errors() and aircraft.progress("c")["changed"] == len(OLD["changed"]))
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process).code == 75
    assert on_disk(aircraft) == OLD


def test_a_running_loader_loads_a_new_campaign(aircraft: Aircraft) -> None:
    process = aircraft.start("--poll-interval", "100ms")
    publish(aircraft.media, "c", OLD)
    wait_until(lambda: aircraft.progress("c") == {name: len(body) for name, body in OLD.items()})
    aircraft.media.delete(manifest_key(AIRLINE, "c"))
    wait_until(lambda: "c" in aircraft.errors())
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process).code == 75
    assert on_disk(aircraft) == OLD
