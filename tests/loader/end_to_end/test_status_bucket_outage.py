"""The status bucket is unavailable during a load and recovers shortly after it."""

from __future__ import annotations

import os

import pytest

from fleet.simulation.faults import ErrorResponse, Fault, HangUp, Head, Rule
from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.portal_system import wait_until

pytestmark = pytest.mark.processes
SECONDS = 30.0  # half of the default interval between two heartbeats


class Refuse(Fault):
    """The store resets every connection."""

    async def answer(self) -> tuple[Head, bytes] | None:
        raise HangUp(reset=True)


@pytest.mark.parametrize("fault", [ErrorResponse(503, "SlowDown", retry_after=60), Refuse()], ids=["503", "reset"])
@pytest.mark.parametrize("method", ["*", "PUT"])
def test_a_run_ends_within_seconds_once_the_bucket_is_back(
    aircraft: Aircraft, link: FaultProxy, fault: Fault, method: str
) -> None:
    publish(aircraft.media, "c", {name: os.urandom(300_000) for name in "abc"})
    away = Rule(fault, method=method, key=f"{aircraft.status.name}/*", times=None)
    link.add(away)
    process = aircraft.start("--once", LOADER_REPORT_TIMEOUT="10min")
    wait_until(lambda: all(aircraft.path("c", name).exists() for name in "abc"))
    hits = away.hits
    wait_until(lambda: away.hits >= hits + 3)  # about two seconds: it tries once a second at most
    link.rules.clear()
    run = wait_for_exit(process, SECONDS)
    assert run.code == 0
    assert aircraft.heartbeat().extra["ended"] is True
    assert aircraft.progress("c") == dict.fromkeys("abc", 300_000)
