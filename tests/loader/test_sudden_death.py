"""kill -9 at every named instant: the next run ends whole, and no promise is broken before it begins.

Random instants: see `test_killed_again_and_again`. Lives are forked (see `tests.loader.nursery`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from loader.crash import CRASH_POINTS
from tests.loader.aircraft import Aircraft, publish
from tests.loader.nursery import Nursery
from tests.loader.promises import Promises

pytestmark = pytest.mark.processes

FIRST = {"one": os.urandom(400_000), "same": b"as it was", "last": os.urandom(2_000)}
SECOND = {"one": os.urandom(300_000), "same": b"as it was", "new": b"of version two"}
ELSEWHERE = ("link", "purge")  # see `test_linking_and_purging`
TWICE = [f"{point}:{times}" for point in ("chunk-kept", "renamed", "held-written", "progress-sent") for times in (2, 3)]


def first(aircraft: Aircraft, promises: Promises) -> dict[str, dict[str, bytes]]:
    promises.publishes("c", FIRST)
    publish(aircraft.media, "c", FIRST)
    return {"c": FIRST}


def second(aircraft: Aircraft, promises: Promises) -> dict[str, dict[str, bytes]]:
    """A new version: loaded beside the first, then switched."""
    promises.publishes("c", SECOND)
    publish(aircraft.media, "c", SECOND, version=2)
    return {"c": SECOND}


# What happens to an aircraft, step by step; every named instant is met in one of them.
STEPS: list[Callable[[Aircraft, Promises], dict[str, dict[str, bytes]]]] = [first, second]


@pytest.mark.parametrize("point", [*(point for point in CRASH_POINTS if not point.startswith(ELSEWHERE)), *TWICE])
def test_a_kill_at_a_named_instant_is_made_good(
    point: str, aircraft: Aircraft, nursery: Nursery, promises: Promises
) -> None:
    deaths = 0
    for step in STEPS:
        wanted = step(aircraft, promises)
        life = nursery.start(aircraft.environment(LOADER_CRASH_AT=point), "--once").end()
        assert life.code in (0, -signal.SIGKILL), life
        deaths += life.code != 0
        promises.check()
        run = nursery.start(aircraft.environment(), "--once").end()
        promises.check()
        assert (run.code, run.stderr, promises.broken) == (0, "", [])
        for campaign, contents in wanted.items():
            folder = aircraft.folder / campaign
            assert {path.stem: path.read_bytes() for path in folder.iterdir()} == contents
            assert aircraft.progress(campaign).items() >= {name: len(body) for name, body in contents.items()}.items()
        assert (aircraft.errors(), aircraft.left_over()) == ({}, [])
    assert deaths
