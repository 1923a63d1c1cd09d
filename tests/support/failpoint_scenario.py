"""Three steps of one aircraft that together reach every failpoint of the loader."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from loader.failpoints import FAILPOINTS
from tests.support.aircraft import Aircraft, Run, publish
from tests.support.invariants import Invariants

ExpectedContents = Mapping[str, Mapping[str, bytes]]  # contents by campaign after the step
Step = Callable[[Aircraft, Invariants], ExpectedContents]

FIRST = {"one": os.urandom(400_000), "same": b"as it was", "last": os.urandom(2_000)}
SECOND = {"one": os.urandom(300_000), "same": b"as it was", "new": b"of version two"}
THIRD = {"one again": SECOND["one"], "other": os.urandom(50_000)}


def first(aircraft: Aircraft, invariants: Invariants) -> ExpectedContents:
    invariants.publishes("c", FIRST)
    publish(aircraft.media, "c", FIRST)
    return {"c": FIRST}


def second(aircraft: Aircraft, invariants: Invariants) -> ExpectedContents:
    """Publish a new version: it is staged beside the first, then activated."""
    invariants.publishes("c", SECOND)
    publish(aircraft.media, "c", SECOND, version=2)
    return {"c": SECOND}


def third(aircraft: Aircraft, invariants: Invariants) -> ExpectedContents:
    """Publish another campaign whose content is partly on disk already."""
    invariants.publishes("d", THIRD)
    publish(aircraft.media, "d", THIRD)
    return {"c": SECOND, "d": THIRD}


STEPS: tuple[Step, ...] = (first, second, third)
# Purging needs the tail's queue: see `test_linking_and_purging`.
POINTS = tuple(point for point in FAILPOINTS if not point.startswith(("link", "purge")))


def assert_loaded(run: Run, aircraft: Aircraft, invariants: Invariants, wanted: ExpectedContents) -> None:
    """Check that all expected content is on disk and reported, with no leftovers and no violations."""
    invariants.check()
    assert (run.code, run.stderr, invariants.broken) == (0, "", []), (run.code, run.stderr, invariants.broken)
    for campaign, contents in wanted.items():
        folder = aircraft.folder / campaign
        assert {path.stem: path.read_bytes() for path in folder.iterdir()} == contents
        assert aircraft.progress(campaign).items() >= {name: len(body) for name, body in contents.items()}.items()
    assert (aircraft.errors(), aircraft.left_over()) == ({}, [])
