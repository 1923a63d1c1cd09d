"""Without any network, or with a wrong clock: the loader reports it, sends few requests and breaks nothing.

The loader runs in a network namespace without interfaces. The clock is faketime's; the store itself rejects it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from fleet.simulation.faults import ErrorResponse, Rule
from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.invariants import Invariants
from tests.support.strace import start_under

pytestmark = pytest.mark.processes

CONTENTS = {"a": os.urandom(100_000), "b": b"content"}
SOON = {"LOADER_REPORT_TIMEOUT": "500ms"}
SKEW = timedelta(minutes=20)
FAKETIME = ("faketime", "-f", f"+{SKEW.seconds}s")


@pytest.fixture(autouse=True)
def _campaign(aircraft: Aircraft, invariants: Invariants) -> None:
    invariants.publishes("c", CONTENTS)
    publish(aircraft.media, "c", CONTENTS)


@pytest.mark.root
@pytest.mark.parametrize("endpoint", ["", "http://store.example:8333"], ids=["no route", "no name"])
def test_no_content_changes_without_a_network_and_the_exit_code_requests_a_retry(
    endpoint: str, aircraft: Aircraft, invariants: Invariants
) -> None:
    assert aircraft.load().code == 0
    publish(aircraft.media, "d", {"new": b"never seen"})
    reports, files = aircraft.reports(), {path: path.read_bytes() for path in aircraft.folder.glob("c/*")}
    more = SOON | ({"AWS_ENDPOINT_URL_S3": endpoint} if endpoint else {})
    run = wait_for_exit(start_under(["unshare", "--net"], aircraft, "--once", **more))
    assert (run.code, run.stderr) == (75, "")
    assert any(reason in str(run.events) for reason in ("NETWORK", "no route"))
    assert aircraft.reports() == reports
    assert {path: path.read_bytes() for path in aircraft.folder.glob("*/*.tgz")} == files
    invariants.check()
    assert invariants.broken == []
    assert aircraft.load().code == 0
    assert aircraft.path("d", "new").read_bytes() == b"never seen"


def test_a_wrong_clock_is_reported_with_both_times(
    aircraft: Aircraft, link: FaultProxy, invariants: Invariants
) -> None:
    """The store itself rejects the signatures as too new."""
    before = datetime.now(UTC).replace(microsecond=0)
    run = wait_for_exit(start_under(FAKETIME, aircraft, "--once", FAKETIME_DONT_FAKE_MONOTONIC="1", **SOON))
    assert {request.status for request in link.log} == {403}
    assert run.code == 1
    text = next(str(event["text"]) for event in run.events if event.get("code") == "CLOCK_SKEW")
    here, there = (datetime.fromisoformat(f"{word}+00:00") for word in times_in(text))
    assert before <= there
    assert abs(here - there - SKEW) < timedelta(minutes=1)
    assert len(link.log) < 20
    invariants.check()
    assert invariants.broken == []
    assert aircraft.load().code == 0


def times_in(text: str) -> list[str]:
    words = text.split()
    return [f"{day} {hour}" for day, hour, zone in zip(words, words[1:], words[2:], strict=False) if "UTC" in zone]


def test_a_clock_that_goes_wrong_midway_fails_items_and_keeps_their_bytes(
    aircraft: Aircraft, link: FaultProxy, invariants: Invariants
) -> None:
    link.add(
        Rule(
            ErrorResponse(403, "RequestTimeTooSkewed", headers={"Date": "Sat, 21 Nov 2026 12:00:00 GMT"}), key="*/a.tgz"
        )
    )
    run = aircraft.load()
    assert (run.code, link.rules[0].hits) == (1, 1)
    assert aircraft.errors()["a"].startswith("CLOCK_SKEW: ")
    assert "2026-11-21 12:00:00 UTC" in aircraft.errors()["a"]
    assert aircraft.path("c", "b").read_bytes() == CONTENTS["b"]
    invariants.check()
    assert invariants.broken == []
    assert aircraft.load().code == 0
    assert aircraft.errors() == {}
