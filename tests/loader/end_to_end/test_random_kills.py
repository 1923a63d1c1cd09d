"""200 seeded kills during one campaign: nothing is lost, the invariants hold, and few bytes are fetched twice.

A process is killed after a number of bytes or requests, or at any time. When the campaign is complete a new version is
published, so that kills also happen during staging and activation. Processes are forked (see
`tests.support.fork_server`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish
from tests.support.fork_server import ForkServer, LoaderProcess
from tests.support.invariants import Invariants
from tests.support.profiles import scaled

pytestmark = pytest.mark.processes

KILLS = scaled(200, quick=25)
BANDWIDTH = 6_000_000  # bytes a second
INTERVAL = 0.05  # seconds between two reports of progress
AT_ONCE = 4  # items
# For each connection, bytes counted as sent but never read: the write during the kill and the one that fails.
IN_FLIGHT = 2 * 65_536
ITEMS, SMALLEST, LARGEST = 6, 100_000, 2_000_000


def versions(chance: random.Random) -> Iterator[dict[str, bytes]]:
    """Yield the contents of each version: first all are new, then about half of the items change."""
    share = 1.0
    while True:
        named = [f"item {item}" for item in range(ITEMS) if chance.random() < share]
        yield {name: chance.randbytes(chance.randint(SMALLEST, LARGEST)) for name in named}
        share = 0.5


def when(chance: random.Random, link: FaultProxy) -> Callable[[], bool]:
    """Return when to kill the new process, by the traffic of its link or in time."""
    first, kind = len(link.log), chance.choices(["bytes", "requests", "time"], [60, 25, 15])[0]
    if kind == "bytes":
        limit = chance.randint(0, round(1.5 * BANDWIDTH * INTERVAL))
        return lambda: sum(seen.sent for seen in link.log[first:]) > limit
    if kind == "requests":
        count = chance.randint(1, 20)
        return lambda: len(link.log) - first >= count
    deadline = time.monotonic() + chance.uniform(0.0, 0.2)
    return lambda: time.monotonic() > deadline


def killed(life: LoaderProcess, due: Callable[[], bool]) -> bool:
    """Kill it when due; return False if it had exited by itself."""
    while not due():
        if life.ended:
            assert life.code == 0, life.end()
            return False
        time.sleep(0.001)
    return life.kill()


def test_a_life_that_is_killed_at_once_is_known_to_be_killed(aircraft: Aircraft, fork_server: ForkServer) -> None:
    assert all(fork_server.start(aircraft.environment(), "--once").kill() for _ in range(20))


@pytest.mark.slow("starts a loader after each kill, over a slow link")
@pytest.mark.parametrize("seed", [1], ids="seed {}".format)
def test_a_campaign_survives_being_killed_at_any_instant(
    seed: int, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer, invariants: Invariants
) -> None:
    chance = random.Random(seed)
    aircraft.extra |= {"LOADER_PROGRESS_INTERVAL": f"{INTERVAL}s", "LOADER_MAX_TRANSFERS": str(AT_ONCE)}
    link.bandwidth = BANDWIDTH
    contents: dict[str, bytes] = {}
    wanted, kills, version = 0, 0, 0
    with invariants:
        for version, others in enumerate(versions(chance), start=1):
            contents |= others
            wanted += sum(map(len, others.values()))
            invariants.publishes("c", contents)
            publish(aircraft.media, "c", contents, version=version, put=others)
            while kills < KILLS and killed(fork_server.start(aircraft.environment(), "--once"), when(chance, link)):
                kills += 1
                invariants.check()
            if kills == KILLS and version > 1:
                break
        run = fork_server.start(aircraft.environment(), "--once").end()
    served = sum(seen.sent for seen in link.requests("GET", "*.tgz"))
    assert (run.code, run.stderr, invariants.broken) == (0, "", [])
    assert {path.stem: path.read_bytes() for path in (aircraft.folder / "c").iterdir()} == contents
    assert aircraft.progress("c") == {name: len(body) for name, body in contents.items()}
    assert (aircraft.errors(), aircraft.left_over()) == ({}, [])
    assert version > 1
    assert invariants.samples > KILLS
    assert served <= wanted + kills * (BANDWIDTH * INTERVAL + AT_ONCE * IN_FLIGHT), (served, wanted, version)
