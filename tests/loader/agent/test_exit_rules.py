"""`--once` exits, even if polling the bucket takes longer than the poll interval."""

from __future__ import annotations

import time

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish
from tests.support.fork_server import ForkServer
from tests.support.portal_system import PATIENCE

pytestmark = pytest.mark.processes


def test_a_single_run_polls_once_at_any_duration(aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer) -> None:
    for campaign in "abcd":
        publish(aircraft.media, campaign, {"a": b"content"})
    link.latency = 0.2
    life = fork_server.start(aircraft.environment(LOADER_POLL_INTERVAL="50ms"), "--once")
    deadline = time.monotonic() + PATIENCE

    def looks() -> int:
        return len([request for request in link.requests("LIST") if "delimiter" in request.query])

    while not life.ended and looks() < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    life.kill()
    assert 1 <= looks() <= 2
    assert life.code == 0
