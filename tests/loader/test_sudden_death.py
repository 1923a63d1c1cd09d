"""kill -9, at random and at every named instant: the next run ends whole, and at no sample is a promise broken."""

from __future__ import annotations

import os
import random
import subprocess
import time

import pytest

from fleet.link import Link
from loader.crash import CRASH_POINTS
from tests.loader.aircraft import Aircraft, Sampler, finish, publish

pytestmark = pytest.mark.processes

MIB = 1_048_576
BANDWIDTH = 6_000_000  # bytes a second: loading takes about a second
INTERVAL = 0.1  # seconds, of the progress reports
CONTENTS = {"one": os.urandom(2 * MIB + 5), "two": os.urandom(3 * MIB), "Drei und vier": os.urandom(MIB // 2)}
SIZE = sum(len(body) for body in CONTENTS.values())


def die(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill it after so long; False if it had ended by itself."""
    time.sleep(seconds)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    return not ended


@pytest.mark.parametrize("seed", range(3), ids="seed {}".format)
def test_a_kill_at_any_instant_costs_at_most_an_interval(seed: int, aircraft: Aircraft, link: Link) -> None:
    chance = random.Random(seed)
    publish(aircraft.media, "c", CONTENTS)
    link.bandwidth = BANDWIDTH
    kills, kept = 0, 0
    with Sampler(aircraft, "c", {name: [body] for name, body in CONTENTS.items()}) as sampler:
        for _ in range(3):
            before = {name: (aircraft.part("c", name), len(link.requests("GET", f"*/{name}.tgz"))) for name in CONTENTS}
            sizes = {name: part.stat().st_size if part.exists() else None for name, (part, _) in before.items()}
            kills += die(aircraft.start("--once"), chance.uniform(0.4, 1.3))
            for name, (_, asked) in before.items():
                size, requests = sizes[name], link.requests("GET", f"*/{name}.tgz")[asked:]
                if size is not None and requests:
                    kept += 1
                    # What was kept is not asked for again. An empty part is begun anew.
                    assert requests[0].range == (f"bytes={size}-" if size else "")
        run = finish(aircraft.start("--once"))
    assert kills
    assert (run.code, sampler.broken) == (0, [])
    assert sampler.samples > 10
    assert aircraft.progress("c") == {name: len(body) for name, body in CONTENTS.items()}
    assert aircraft.left_over() == []
    served = sum(seen.sent for name in CONTENTS for seen in link.requests("GET", f"*/{name}.tgz"))
    assert served <= SIZE + kills * (BANDWIDTH * INTERVAL + len(CONTENTS) * 65_536)


FIRST = {"one": os.urandom(400_000), "same": b"as it was"}
SECOND = {"one": os.urandom(300_000), "same": b"as it was", "new": b"of version two"}


@pytest.mark.parametrize(
    "point", [point for point in CRASH_POINTS if not point.startswith("switch")] + ["chunk-kept:3"]
)
def test_a_kill_at_a_named_instant_is_made_good(point: str, aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", FIRST)
    editions = {name: [body] for name, body in FIRST.items()}
    with Sampler(aircraft, "c", editions) as sampler:
        assert aircraft.load(LOADER_CRASH_AT=point).code == -9
        sampler.check()
        run = aircraft.load()
    assert (run.code, sampler.broken) == (0, [])
    assert aircraft.progress("c") == {name: len(body) for name, body in FIRST.items()}
    assert aircraft.errors() == {}
    assert aircraft.left_over() == []


@pytest.mark.parametrize("point", ["renamed", *(point for point in CRASH_POINTS if point.startswith("switch"))])
def test_a_kill_while_a_new_version_takes_over_is_made_good(point: str, aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", FIRST)
    assert aircraft.load().code == 0
    publish(aircraft.media, "c", SECOND, version=2)
    assert aircraft.load(LOADER_CRASH_AT=point).code == -9
    for name, body in SECOND.items():
        path = aircraft.path("c", name)
        assert not path.exists() or path.read_bytes() in (body, FIRST.get(name))
    assert aircraft.load().code == 0
    assert {path.name: path.read_bytes() for path in (aircraft.folder / "c").iterdir()} == {
        f"{name}.tgz": body for name, body in SECOND.items()
    }
    assert aircraft.progress("c") == {name: len(body) for name, body in SECOND.items()}
    assert aircraft.left_over() == []
