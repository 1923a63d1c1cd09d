"""Measure the latency from a status write to an open browser: `python -m benchmarks.latency`.

The portal runs as in production, one process each: SeaweedFS, daphne, qcluster, pacemaker and Chromium. A sample starts
before the PUT of a status object, at a random moment of the poll interval, and ends when a MutationObserver in the page
sees the new value. All clocks are those of this machine. `--objects` adds unchanged status objects of the same airline.
`--changes` makes other tails write that many of them per second. Touches a temporary folder, the loopback interface and
the processes it starts.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.shared.goals import percentile
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from tests.support.chromium import headless_chromium
from tests.support.portal_system import PortalSystem
from tests.support.postgresql import postgresql

MEDIA, STATUS = "bench-media", "bench-status"
MEGABYTE = 1_000_000
MAX_SAMPLES = 900  # each sample writes another number of at most three digits
PATIENCE = 180_000  # milliseconds; the first poll of many objects is slow
ITEMS = 50  # other objects of each tail
WRITERS = 8  # threads that write other changes
KEY = "ACME/N1/2026-12/film.tgz.progress"
# `when(text)` is a promise of the time, in seconds since 1970, at which the page first showed the text.
OBSERVE = """() => {
    const seen = new Map(), awaited = new Map();
    const check = () => {
        const text = document.querySelector(".items tbody [data-field=bytes_done]")?.textContent;
        if (text === undefined || seen.has(text)) return;
        seen.set(text, Date.now() / 1000);
        awaited.get(text)?.(seen.get(text));
    };
    window.when = (text) => new Promise((resolve, reject) => {
        setTimeout(reject, PATIENCE, new Error(`${text} was never shown`));
        if (seen.has(text)) resolve(seen.get(text));
        else awaited.set(text, resolve);
    });
    new MutationObserver(check).observe(document.body, {subtree: true, childList: true, characterData: true});
    check();
}""".replace("PATIENCE", str(PATIENCE))


@dataclass(frozen=True)
class Latency:
    """Samples in seconds, and the load they were measured under."""

    interval: float
    samples: list[float]
    objects: int = 0
    changes: int = 0

    def percentile(self, share: int) -> float:
        """Return the smallest sample that `share` percent of the samples do not exceed."""
        return percentile(self.samples, share)

    @property
    def grace(self) -> float:
        """Return the seconds that the goal allows in addition to the poll interval."""
        return 0.5 if self.changes else 1

    @property
    def goal(self) -> float:
        """Return the limit of the 95th percentile in seconds."""
        return self.interval + self.grace

    @property
    def ratio(self) -> float:
        """Return the 95th percentile divided by the goal; at most 1 if the goal is met."""
        return self.percentile(95) / self.goal

    def table(self, database: str) -> str:
        """Return the Markdown table of docs/performance.md."""
        figures = [self.percentile(50), self.percentile(95), max(self.samples)]
        others = {"other objects": f"{self.objects:,}"}
        if self.changes:
            others["other changes a second"] = str(self.changes)
        cells = [database, *others.values(), str(len(self.samples)), f"{self.interval:g} s"]
        cells += [f"{value:.2f} s" for value in figures]
        headings = ["database", *others, "writes", "poll interval", "p50", "p95", "max"]
        headings.append(f"p95 / (interval + {self.grace:g} s)")
        lines = [headings, ["---", *["---:"] * (len(headings) - 1)], [*cells, f"{self.ratio:.2f}"]]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def running_portal(database: str, interval: float) -> Iterator[tuple[PortalSystem, S3Bucket, S3Bucket]]:
    """Start the portal with a new store and a new database; yield it with its media and status buckets."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ifeportal-latency-")))
        url = f"sqlite:///{folder}/portal.sqlite3" if database == "sqlite" else stack.enter_context(postgresql())
        store = stack.enter_context(SeaweedFS(folder / "store"))
        buckets = store.create_bucket(MEDIA), store.create_bucket(STATUS)
        environment = {
            "DATABASE_URL": url,
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
            "POLL_INTERVAL": f"{interval}s",
            **store.environment(),
        }
        system = stack.enter_context(PortalSystem(folder, environment))
        system.manage("migrate", "-v0")
        system.start()
        yield system, *buckets


def sign_in(system: PortalSystem, browser: Browser) -> Page:
    """Return a page of the portal, signed in with a password."""
    password = secrets.token_urlsafe(20)
    system.manage(
        "createsuperuser", "--noinput", "--username=ops", "--email=ops@example.org", DJANGO_SUPERUSER_PASSWORD=password
    )
    page = browser.new_page(base_url=system.address)
    page.set_default_timeout(PATIENCE)
    page.goto("/login/")
    page.get_by_label("User").fill("ops")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name=re.compile("Fleet|No airline")).first.wait_for()
    return page


def fill_buckets(media: S3Bucket, status: S3Bucket, objects: int) -> None:
    """Write `objects` status objects of tails that sort before N1. Listings are sorted, so a poll that has read the
    object of N1 has read these too.
    """
    items = [f"item-{number:02}" for number in range(ITEMS)]
    manifest = ", ".join(f'{{"name": "{item}", "size": {MEGABYTE}}}' for item in items)
    media.put("ACME/2026-11/campaign.json", f"[{manifest}]".encode())
    keys = [other_key(number) for number in range(objects)]
    with ThreadPoolExecutor(16) as threads:
        for _ in threads.map(lambda key: status.put(key, b"0"), keys):
            pass


@contextmanager
def writing_changes(status: S3Bucket, objects: int, changes: int) -> Iterator[None]:
    """Write `changes` of these objects per second until the block ends, each with a larger value."""
    stop = threading.Event()

    def write(thread: int) -> None:
        started, number = time.monotonic(), thread
        while not stop.wait(max(started + number / changes - time.monotonic(), 0)):
            status.put(other_key(number % objects), b"%d" % (number % MEGABYTE))
            number += WRITERS

    with ThreadPoolExecutor(WRITERS) as threads:
        written = [threads.submit(write, thread) for thread in range(WRITERS)] if changes else []
        try:
            yield
        finally:
            stop.set()
        for future in written:
            future.result()


def other_key(number: int) -> str:
    """Return the key of another status object."""
    return f"ACME/B{number // ITEMS:04}/2026-11/item-{number % ITEMS:02}.tgz.progress"


def measure(database: str, interval: float, others: tuple[int, int], writes: int, generator: random.Random) -> Latency:
    """Write `writes` values and measure when each is shown. `others`: other objects, and their changes per second. The
    first write is not counted: the portal may still be reading the other objects.
    """
    objects, changes = others
    samples = []
    with running_portal(database, interval) as (system, media, status), headless_chromium() as browser:
        media.put("ACME/2026-12/campaign.json", b'[{"name": "film", "size": %d}]' % (1000 * MEGABYTE))
        status.put(KEY, b"0")
        page = sign_in(system, browser)
        page.get_by_role("link", name="ACME").click()  # the live page adds it without a reload
        page.get_by_role("link", name="N1").click()
        page.locator('[data-live-status][data-state="live"]').wait_for()
        page.evaluate(OBSERVE)
        fill_buckets(media, status, objects)
        with writing_changes(status, objects, changes):
            for number in range(1 + writes):
                time.sleep(generator.uniform(0, interval))
                written = time.time()
                status.put(KEY, b"%d" % ((number + 1) * MEGABYTE))
                samples.append(page.evaluate("(text) => window.when(text)", format_megabytes(number + 1)) - written)
    return Latency(interval, samples[1:], objects, changes)


def format_megabytes(megabytes: int) -> str:
    """Return the text that a page shows for fewer than 1,000 MB."""
    digits = 2 if megabytes < 10 else 1 if megabytes < 100 else 0
    return f"{megabytes:.{digits}f} MB"


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    arguments.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    arguments.add_argument(
        "--objects", type=int, default=0, metavar="N", help="other objects of the airline (%(default)s)"
    )
    arguments.add_argument(
        "--changes", type=int, default=0, metavar="N", help="changes of these per second (%(default)s)"
    )
    arguments.add_argument(
        "--writes", type=int, default=100, metavar="N", help=f"samples, at most {MAX_SAMPLES} (%(default)s)"
    )
    arguments.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="POLL_INTERVAL (%(default)s)")
    arguments.add_argument("--seed", type=int, default=1, help="seed of the write times (%(default)s)")
    return arguments


def main() -> None:
    """Measure and print a table. Exit with 1 if the goal is missed."""
    options = parser().parse_args()
    if not 1 <= options.writes <= MAX_SAMPLES or options.interval <= 0:
        parser().error(f"--writes must be 1 to {MAX_SAMPLES}, --interval more than 0")
    if options.changes < 0 or (options.changes and not options.objects):
        parser().error("--changes must be 0 or more and needs --objects")
    generator = random.Random(options.seed)
    others = options.objects, options.changes
    result = measure(options.database, options.interval, others, options.writes, generator)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over 5 min, Python {platform.python_version()}\n")
    print(result.table(options.database))
    raise SystemExit(result.ratio > 1)


if __name__ == "__main__":
    main()
