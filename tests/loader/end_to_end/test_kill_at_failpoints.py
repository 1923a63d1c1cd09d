"""SIGKILL at every failpoint: the invariants hold, and the next run completes the load.

For random moments see `test_random_kills.py`. Processes are forked (see `tests.support.fork_server`).
"""

from __future__ import annotations

import signal

import pytest

from tests.support.aircraft import Aircraft
from tests.support.failpoint_scenario import POINTS, STEPS, assert_loaded
from tests.support.fork_server import ForkServer
from tests.support.invariants import Invariants

pytestmark = pytest.mark.processes

AGAIN = [f"{point}:{times}" for point in ("chunk-kept", "renamed", "held-written", "progress-sent") for times in (2, 3)]


@pytest.mark.parametrize("point", [*POINTS, *AGAIN])
def test_a_kill_at_a_named_instant_is_made_good(
    point: str, aircraft: Aircraft, fork_server: ForkServer, invariants: Invariants
) -> None:
    for step in STEPS:
        wanted = step(aircraft, invariants)
        life = fork_server.start(aircraft.environment(LOADER_CRASH_AT=point), "--once").end()
        assert life.code in (0, -signal.SIGKILL), life
        invariants.check()
        assert_loaded(fork_server.start(aircraft.environment(), "--once").end(), aircraft, invariants, wanted)
        if life.code:
            return
    pytest.fail(f"{point} was never met")
