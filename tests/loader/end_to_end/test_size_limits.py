"""Endless or far too large responses cost a bounded number of bytes, requests and memory."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.simulation.faults import Chunks, ErrorResponse, Fault, Head, Rule
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, build_manifest
from tests.support.aircraft import AIRLINE, Aircraft, publish, wait_for_exit
from tests.support.invariants import Invariants

pytestmark = pytest.mark.processes

MIB = 1_048_576
# Both ends of the connection may buffer bytes that are never read.
BUFFERS = 16 * MIB
GROWTH = 64 * MIB  # bytes of memory, in addition to a loader with little work


@dataclass
class Endless(Fault):
    """A body that never ends: chunked, or with a head that promises `length` bytes. Ignores the range."""

    length: int | None = None

    def head(self, head: Head) -> None:
        head.status, head.length = 200, self.length
        head.drop("Content-Range")

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        yield b"["
        while True:
            yield b'{"name": "a", "size": 1},' * 2_000


def many(count: int) -> bytes:
    return json.dumps([{"name": str(at), "size": 1} for at in range(count)], separators=(",", ":")).encode()


@pytest.mark.parametrize("length", [None, 5_000_000_000], ids=["chunked", "5 GB"])
def test_of_an_endless_manifest_only_the_beginning_is_read(
    length: int | None, aircraft: Aircraft, link: FaultProxy, invariants: Invariants
) -> None:
    invariants.publishes("sound", {"a": b"content"})
    publish(aircraft.media, "sound", {"a": b"content"})
    publish(aircraft.media, "endless", {"a": b"content"})
    rule = link.add(Rule(Endless(length), key="*/endless/campaign.json", times=None))
    assert aircraft.load().code == 1
    assert 1 <= rule.hits <= 3
    assert sum(request.sent for request in link.requests("GET", "*/endless/*")) <= rule.hits * (
        MANIFEST_LIMIT + BUFFERS
    )
    invariants.check()
    assert invariants.broken == []
    assert aircraft.errors()["endless"].startswith("BAD_MANIFEST: ")
    assert aircraft.path("sound", "a").read_bytes() == b"content"
    assert link.requests("GET", "*/endless/*.tgz") == []


def test_a_million_items_are_refused_whether_or_not_they_fit_into_the_limit(aircraft: Aircraft) -> None:
    publish(aircraft.media, "sound", {"a": b"content"})
    fitting = many(190_000)
    assert len(fitting) < MANIFEST_LIMIT
    for campaign, body in (("million", many(1_000_000)), ("fitting", fitting)):
        aircraft.media.put(manifest_key(AIRLINE, campaign), body)
    assert aircraft.load().code == 1
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == {
        "million": "BAD_MANIFEST",
        "fitting": "BAD_MANIFEST",
    }
    assert aircraft.path("sound", "a").read_bytes() == b"content"


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def peak(process: subprocess.Popen[str]) -> int:
    """Return the peak memory of the process in bytes, without that of its parent before the fork."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_memory_does_not_grow_with_what_is_loaded(aircraft: Aircraft, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Three items of 64 MiB at once, a large manifest, and one that is rejected."""
    publish(aircraft.media, "small", {"a": os.urandom(1000)})
    process = aircraft.start("--poll-interval", "100ms")
    try:
        until(lambda: aircraft.progress("small") == {"a": 1000}, process)
        before = peak(process)
        size, names = 64 * MIB, ["one", "two", "three"]
        sparse = tmp_path_factory.mktemp("sparse") / "file"
        with sparse.open("wb") as stream:
            stream.truncate(size)
        for name in names:
            aircraft.media.upload(content_key(AIRLINE, "large", name), sparse)
        aircraft.media.put(manifest_key(AIRLINE, "refused"), many(190_000))
        manifest = Manifest(tuple(Item(name, size) for name in names))
        aircraft.media.put(manifest_key(AIRLINE, "large"), build_manifest(manifest))
        until(lambda: aircraft.progress("large") == dict.fromkeys(names, size), process)
        until(lambda: "refused" in aircraft.errors(), process)
        grown = peak(process) - before
    finally:
        process.terminate()
        wait_for_exit(process)
    assert all(aircraft.path("large", name).stat().st_size == size for name in names)
    assert grown <= GROWTH


def test_an_outage_costs_few_requests(aircraft: Aircraft, link: FaultProxy, invariants: Invariants) -> None:
    publish(aircraft.media, "c", {str(at): b"content" for at in range(50)})
    rule = link.add(Rule(ErrorResponse(503, "SlowDown"), method="*", times=None))
    run = aircraft.load(LOADER_REPORT_TIMEOUT="1s")
    assert (run.code, run.stderr) == (75, "")
    assert rule.hits == len(link.log)
    assert len(link.log) <= 30
    invariants.check()
    assert invariants.broken == []
    link.rules.clear()
    assert aircraft.load().code == 0
