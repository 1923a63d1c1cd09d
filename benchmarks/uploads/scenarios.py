"""The jobs: each measures some goals of uploads and operations, and adds their rows to the bench."""

from __future__ import annotations

import random
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Error

from benchmarks.latency import MAX_SAMPLES, format_megabytes
from benchmarks.portal.fanout import resident_bytes
from benchmarks.shared.goals import MIB, Row, median_row, percentile, ratio_row
from benchmarks.shared.peers import S5CMD
from benchmarks.shared.processes import MeasurementError, fill_page_cache, run
from benchmarks.uploads.page import BYTES, OBSERVE, UploadPage, new_context
from benchmarks.uploads.setup import AIRLINE, LANES, MEDIA, PART, Bench, Portal, Resident, portal
from fleet.simulation.proxy import FaultProxy
from ifeportal.formatting import size as format_size
from tests.support.chromium import headless_chromium
from tests.support.portal_system import wait_for

OFFLINE: Final = 3.0  # seconds
SIGNED_PARTS: Final = 16
ADMISSIONS: Final = 20
MEGABYTE: Final = 1_000_000
SENT: Final = ("processing", "uploaded")  # states of a row whose bytes have all been sent


@dataclass
class _Times:
    """Seconds of each run."""

    browser: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)
    signed: list[float] = field(default_factory=list)


def browser(bench: Bench) -> None:
    """A browser and s5cmd upload the same file in turns; the portal places that of the browser."""
    times = _Times()
    with portal(bench, "browser") as site, headless_chromium() as chromium:
        for number in range(bench.runs + 1):
            fill_page_cache(bench.folder, bench.size)
            found = _upload(bench, site, chromium, number)
            fill_page_cache(bench.folder, bench.size)
            found.peer = [_copy_with_s5cmd(bench, site, number)]
            bench.log(f"  [{number}] browser {found.browser[0]:.2f} s, s5cmd {found.peer[0]:.2f} s")
            for name in vars(times) if number else ():  # the first round is not counted
                getattr(times, name).extend(getattr(found, name))
    job = f"browser: 1 x {format_size(bench.size)}"
    bench.rows += [
        ratio_row(job, "wall ÷ `s5cmd cp`", 1.15, times.browser, times.peer),
        median_row(job, "requests to the portal for a part", 1, times.signed, ""),
        median_row(job, "last byte to uploaded, without reading the object once", 2, times.after, "s"),
        median_row(job, "uploaded to shown in the open page", 1, times.shown, "s"),
    ]


def _upload(bench: Bench, site: Portal, chromium: Browser, number: int) -> _Times:
    context = new_context(chromium, site.system.address, site.cookie)
    try:
        shown = UploadPage(context)
        began = time.time()
        shown.choose(bench.file(f"film-{number}.tgz"))
        shown.wait_for(*SENT)
        shown.wait_for("uploaded")
        ended = site.resident.ask(ended=shown.id)
        reading = _read_once(site, ended["key"], "cat > /dev/null")
        times = _Times(
            browser=[shown.at(*SENT) - began],
            after=[ended["finished"] - ended["completed"] - reading],
            shown=[shown.at("uploaded") - ended["finished"]],
            signed=[shown.signed / -(-_size(bench.file(f"film-{number}.tgz")) // PART)],
        )
    finally:
        context.close()
    site.media.delete(ended["key"])
    return times


def _size(path: Path) -> int:
    return path.stat().st_size


def _copy_with_s5cmd(bench: Bench, site: Portal, number: int) -> float:
    key = f"{AIRLINE}/peer/film-{number}.tgz"
    command = [S5CMD, "--endpoint-url", site.store.endpoint, "--log", "error", "cp"]
    cost = run([*map(str, command), bench.file(f"film-{number}.tgz"), f"s3://{MEDIA}/{key}"], site.peer())
    site.media.delete(key)
    return cost.wall


def _read_once(site: Portal, key: str, into: str) -> float:
    """Return the seconds in which s5cmd reads an object and another program takes it."""
    source = shlex.join([str(S5CMD), "--endpoint-url", site.store.endpoint, "cat", f"s3://{MEDIA}/{key}"])
    return run(["sh", "-c", f"{source} | {into}"], site.peer()).wall


def resent(bench: Bench) -> None:
    """Count the bytes that a browser sends if something interrupts it in the middle."""
    with portal(bench, "resent", workers=False, with_link=True) as site, headless_chromium() as chromium:
        for name, interrupt in INTERRUPTIONS.items():
            sent = _interrupted(bench, site, chromium, name, interrupt)
            size = _size(bench.file(f"{name}.tgz"))
            goal = round(1 + LANES * PART / size, 2)
            bench.rows.append(Row(f"browser: {DESCRIPTIONS[name]}", "bytes sent ÷ size", goal, sent / size))
            bench.log(f"  {name}: {sent / size:.3f}")


def _interrupted(bench: Bench, site: Portal, chromium: Browser, name: str, interrupt: Callable[..., UploadPage]) -> int:
    link = _link(site)
    file = bench.file(f"{name}.tgz")
    link.log.clear()
    link.bandwidth = max(bench.size / 10, PART)  # slow enough to be interrupted in the middle
    context = new_context(chromium, site.system.address, site.cookie)
    try:
        shown = UploadPage(context)
        shown.choose(file)
        wait_for("a third is sent", lambda: _stored(link) >= _size(file) / 3, seconds=600)
        shown = interrupt(shown, link, file)
        link.bandwidth = None
        shown.wait_for(*SENT)
    finally:
        context.close()
    return sum(each.received for each in _parts(link))


def _link(site: Portal) -> FaultProxy:
    if site.link is None:
        raise MeasurementError("there is no link to interrupt")
    return site.link


def _parts(link: FaultProxy) -> list[Any]:
    return [each for each in link.requests("PUT", "*/data") if "partNumber" in each.query]


def _stored(link: FaultProxy) -> int:
    return sum(each.received for each in _parts(link) if each.status == 200)


def _reload(shown: UploadPage, link: FaultProxy, file: Path) -> UploadPage:
    shown.open()
    shown.wait_for("unfinished")
    shown.choose(file)
    return shown


def _offline(shown: UploadPage, link: FaultProxy, file: Path) -> UploadPage:
    shown.context.set_offline(True)
    link.offline()
    shown.page.wait_for_timeout(OFFLINE * 1_000)
    link.online()
    shown.context.set_offline(False)
    return shown


def _kill(shown: UploadPage, link: FaultProxy, file: Path) -> UploadPage:
    with suppress(Error):  # the navigation does not return
        shown.page.goto("chrome://crash", timeout=2_000)
    shown.page.close()
    again = UploadPage(shown.context)
    again.wait_for("unfinished")
    again.choose(file)
    return again


INTERRUPTIONS: Final[Mapping[str, Callable[..., UploadPage]]] = {
    "reload": _reload,
    "offline": _offline,
    "kill": _kill,
}
DESCRIPTIONS: Final = {"reload": "reload", "offline": "3 s offline", "kill": "killed tab"}


def part(bench: Bench) -> None:
    """Count what signing a part costs the portal."""
    with portal(bench, "part", workers=False) as site:
        found = site.resident.ask(signed=SIGNED_PARTS)
    job = "portal: one part"
    bench.rows += [
        Row(job, "statements, with session and access", 4, found["statements"], "count"),
        Row(job, "requests to the store while signing", 0, found["store"], "count"),
    ]


def crowd(bench: Bench) -> None:
    """Measure the memory of daphne while many browsers upload at once."""
    with portal(bench, "crowd", workers=False) as site, headless_chromium() as chromium:
        pid = site.system.portal.pid
        if pid is None:
            raise MeasurementError("the web server has ended")
        _crowd_uploads(bench, site, chromium, "warm", 1)
        before = resident_bytes(pid)
        with _peak_memory(pid) as peak:
            _crowd_uploads(bench, site, chromium, "film", bench.browsers)
    job = f"{bench.browsers} browsers x {format_size(bench.browser_size)}"
    bench.rows.append(Row(job, "RSS of daphne grows by", 10, (peak[0] - before) / MIB, "MiB"))


def _crowd_uploads(bench: Bench, site: Portal, chromium: Browser, name: str, number: int) -> None:
    contexts = [new_context(chromium, site.system.address, site.cookie) for _ in range(number)]
    try:
        pages = [UploadPage(context) for context in contexts]
        for each, shown in enumerate(pages):
            shown.choose(bench.file(f"{name}-{each}.tgz", bench.browser_size))
        for shown in pages:
            shown.wait_for(*SENT)
    finally:
        for context in contexts:
            context.close()


@contextmanager
def _peak_memory(pid: int) -> Iterator[list[int]]:
    """Yield a list whose only value is the largest resident memory of the process so far, in bytes."""
    stop, peak = threading.Event(), [0]

    def watch() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], resident_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def worker(bench: Bench) -> None:
    """A worker checks, hashes and places a file; s5cmd and openssl read and hash it, in turns."""
    walls: list[float] = []
    peers: list[float] = []
    memory: list[float] = []
    with portal(bench, "worker", workers=False) as site:
        for number in range(bench.runs + 1):
            upload = site.resident.ask(announced=str(bench.file(f"film-{number}.tgz")))["id"]
            with Resident(site.system.environment) as one:
                found = one.ask(worked=upload)
            if found["state"] != "succeeded":
                raise MeasurementError(f"the upload {found['state']}: {found['error']}")
            peer = _read_once(site, found["key"], "openssl dgst -sha256")
            bench.log(f"  [{number}] worker {found['wall']:.2f} s, s5cmd and openssl {peer:.2f} s")
            site.media.delete(found["key"])
            memory.append(found["rss"] / MIB)
            if number:
                walls.append(found["wall"])
                peers.append(peer)
    job = f"worker: 1 x {format_size(bench.size)}"
    bench.rows += [
        ratio_row(job, "wall, check, hash and place ÷ `s5cmd cat`, `openssl dgst -sha256`", 1.15, walls, peers),
        Row(job, "peak RSS of the worker", 96, max(memory), "MiB"),
    ]


def admission(bench: Bench) -> None:
    """Admit operations while many wait."""
    with portal(bench, "admission", workers=False) as site:
        found = site.resident.ask(waiting=bench.waiting, times=ADMISSIONS)
    job = f"admission, {bench.waiting:,} operations wait"
    milliseconds = [seconds * 1_000 for seconds in found["seconds"]]
    bench.rows += [
        median_row(job, "milliseconds", 20, milliseconds, ""),
        Row(job, "statements", 6, found["statements"], "count"),
    ]


def change(bench: Bench) -> None:
    """Measure when an open page shows the change of an operation."""
    generator = random.Random(1)
    delays: list[float] = []
    with portal(bench, "change", workers=False) as site, headless_chromium() as chromium:
        site.resident.ask(signed=MAX_SAMPLES)  # an upload of so many parts, whose operation is the only one
        page = new_context(chromium, site.system.address, site.cookie).new_page()
        page.goto("/activity/")
        page.locator('[data-live-status][data-state="live"]').wait_for()
        page.evaluate(OBSERVE, BYTES)
        for number in range(1, min(bench.samples, MAX_SAMPLES) + 1):
            time.sleep(generator.uniform(0, 0.5))
            at = site.resident.ask(changed=number * MEGABYTE)["at"]
            delays.append(page.evaluate("(text) => window.when(text)", format_megabytes(number)) - at)
    spread = (min(delays), max(delays))
    bench.rows.append(Row("operation changed to open page", "p95", 1.5, percentile(delays, 95), "s", *spread))


JOBS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "browser": browser,
    "resent": resent,
    "part": part,
    "crowd": crowd,
    "worker": worker,
    "admission": admission,
    "change": change,
}
