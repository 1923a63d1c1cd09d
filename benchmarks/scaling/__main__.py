"""Measure the cost of polling a large fleet: rows in a real PostgreSQL, listings from a simulated store.

Fills the rows of the fleet, serves its buckets with `benchmarks.scaling.synthetic`, and polls airlines in a separate
process, like a worker: without changes, with new heartbeats, with loading tails. Touches its own database and folder
and removes both. With `--model` nothing is measured: prints the tables calculated from the figures in
`benchmarks.scaling.needs`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import psycopg

from benchmarks.scaling import capacity, needs
from benchmarks.scaling.filling import fill_database
from benchmarks.scaling.synthetic import MEDIA, STATUS, Synthetic
from benchmarks.shared.processes import ROOT
from tests.support.portal_system import PortalSystem
from tests.support.postgresql import postgresql

# The tests' server runs without these. Here it is as durable as in production.
DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
START: Final = "import django; django.setup(); from benchmarks.scaling.measuring import main; main()"
BATCH: Final = 10  # changes per publication
WRITERS: Final = (1, 8)


Answer = dict[str, Any]


def format_step(step: str, answer: Answer) -> str:
    """Return one line for a step."""
    each = answer["airlines"]
    cpu, database = (1000 * answer[name] / each for name in ("cpu", "database"))
    return (
        f"{step}: {each} airlines, {answer['objects_seen']:,} objects, "
        f"{answer['transfers_changed']:,} transfers written, "
        f"{answer['list_requests']:,} LIST, {answer['get_requests']:,} GET in {answer['wall']:.1f} s; each: "
        f"CPU {cpu:.0f} ms in the worker and {database:.0f} ms in PostgreSQL, "
        f"{answer['statements'] / each:.0f} statements, "
        f"{answer['publications'] / each:.1f} publications, {answer['rows'] / each:.0f} rows, "
        f"{answer['log'] / each / 1024:.0f} KiB of log"
    )


class MeasuredPoller:
    """The polling process and the buckets it reads."""

    def __init__(self, child: subprocess.Popen[str], port: int) -> None:
        self._child, self._port = child, port

    def ask(self, **question: object) -> Answer:
        """Send one request and return the response."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps(question) + "\n")
        self._child.stdin.flush()
        answer: Answer = json.loads(self._child.stdout.readline())
        return answer

    def move(self, cycle: int, beats: int) -> None:
        """Move the buckets to a cycle. The listing is requested once, so that it is built before measuring."""
        for path in (f"-/{cycle}/{beats}", f"{STATUS}?prefix=SYN000/"):
            with urlopen(f"http://127.0.0.1:{self._port}/{path}") as answer:
                answer.read()

    def poll(self, step: str, names: Sequence[str]) -> Answer:
        """Poll these airlines; print and return the cost."""
        return self._report(step, self.ask(poll=list(names)))

    def poll_objects(self, step: str, events: Mapping[str, Sequence[str]]) -> Answer:
        """Read these objects of each airline; print and return the cost."""
        return self._report(step, self.ask(take=events))

    def _report(self, step: str, answer: Answer) -> Answer:
        if answer["failures"]:
            raise SystemExit(f"polling failed: {answer['failures']}")
        print(format_step(step, answer), flush=True)
        return answer


@contextmanager
def running_poller(fleet: Synthetic, folder: Path) -> Iterator[MeasuredPoller]:
    """Create the fleet's rows and buckets, and start a process that polls them."""
    with (
        postgresql() as url,
        _piped_python(["-m", "benchmarks.scaling.synthetic", json.dumps(asdict(fleet))], os.environ) as server,
    ):
        assert server.stdin
        assert server.stdout
        port = int(server.stdout.readline())
        system = PortalSystem(folder, _settings(url, port))
        system.manage("migrate", "-v0")
        started = time.monotonic()
        fill_database(url, fleet, lambda line: print(f"  {line}", flush=True))
        print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
        _make_durable(url)
        try:
            with _piped_python(["-c", START], system.environment) as child:
                yield MeasuredPoller(child, port)
        finally:
            server.stdin.close()


def _piped_python(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a Python process that reads requests from its input, answers on its output, and ends with its input."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _settings(url: str, port: int) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "DEBUG": "0",  # Django stores every statement in memory with DEBUG
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "ife.example.org",
        "DJANGO_SETTINGS_MODULE": "ifeportal.settings",
        "MEDIA_BUCKET": MEDIA,
        "STATUS_BUCKET": STATUS,
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "synthetic",
        "AWS_SECRET_ACCESS_KEY": "synthetic",
    }


def _make_durable(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in DURABLE:
            connection.execute(f"ALTER SYSTEM SET {setting} = on")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CHECKPOINT")


def measure(fleet: Synthetic, options: argparse.Namespace) -> capacity.Measured:
    """Poll the fleet in each step, and airlines of one tail for the base cost of a poll."""
    with tempfile.TemporaryDirectory(prefix="ifeportal-scaling-") as folder:
        with running_poller(Synthetic(options.sample, 1, 1, 1, 1), Path(folder)) as poller:
            names = [fleet.airline(number) for number in range(options.sample)]
            poller.poll("one tail, one item, first poll", names)
            bare = poller.poll("one tail, one item", names)
        with running_poller(fleet, Path(folder)) as poller:
            first = poller.poll("first poll of all", [fleet.airline(number) for number in range(fleet.airlines)])
            _check_count(first, "objects_changed", 0)
            found = measure_steps(fleet, poller, names[: fleet.airlines], options.cycles)
            publications = {
                writers: poller.ask(publish=writers, seconds=options.seconds, changes=BATCH)["publications"]
                for writers in WRITERS
            }
            summary = ", ".join(f"{writers} at once: {count:.0f}" for writers, count in publications.items())
            print(f"publications of {BATCH} changes per second, {summary}")
            sizes = poller.ask()["sizes"]
    for table, size in sizes.items():
        print(f"{table}: {size['rows']:,} rows, {size['bytes'] / 1e6:,.0f} MB")
    return capacity.measured_costs(found, bare, sizes, max(publications.values()))


def measure_steps(
    fleet: Synthetic, poller: MeasuredPoller, names: Sequence[str], cycles: int
) -> dict[str, list[Answer]]:
    """Repeat: no changes, new heartbeats, loading tails, and the same changes announced by events."""
    found: dict[str, list[Answer]] = {"nothing new": [], "heartbeats": [], "loading": [], "pushed": []}
    beats, changes = (len(names) * len(range(0, fleet.tails, each)) for each in (fleet.beating, fleet.moving))
    for cycle in range(cycles):
        found["nothing new"].append(poller.poll("nothing new", names))
        poller.move(2 * cycle, cycle + 1)
        found["heartbeats"].append(poller.poll("heartbeats", names))
        poller.move(2 * cycle + 1, cycle + 1)
        found["loading"].append(poller.poll("loading", names))
        poller.move(2 * cycle + 2, cycle + 1)
        found["pushed"].append(
            poller.poll_objects("loading, announced by events", {name: fleet.loading(name) for name in names})
        )
        for step, count in (("nothing new", 0), ("heartbeats", beats), ("loading", changes), ("pushed", changes)):
            _check_count(found[step][-1], "objects_changed", count)
    return found


def _check_count(answer: Answer, step: str, count: int) -> None:
    """Exit if the filled rows and the simulated listings disagree: the measurement would be wrong."""
    if answer[step] != count:
        raise SystemExit(f"{step} is {answer[step]:,} and should be {count:,}")


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    add = arguments.add_argument
    add("--airlines", type=int, default=200, metavar="A", help="number of airlines (%(default)s)")
    add("--tails", type=int, default=1_000, metavar="T", help="tails of each airline (%(default)s)")
    add("--items", type=int, default=20, metavar="I", help="items of the campaign (%(default)s)")
    add("--moving", type=int, default=10, metavar="N", help="one tail in N loads (%(default)s)")
    add("--beating", type=int, default=5, metavar="N", help="one heartbeat in N is new each time (%(default)s)")
    add(
        "--sample",
        type=int,
        default=20,
        metavar="N",
        help="airlines polled in each step except the first (%(default)s)",
    )
    add("--cycles", type=int, default=3, metavar="N", help="repetitions of each step (%(default)s)")
    add("--seconds", type=float, default=5.0, help="seconds of publishing to the feed (%(default)s)")
    add("--model", action="store_true", help="only print the tables of docs/scaling.md")
    return arguments


def main() -> None:
    """Measure, or print the tables of the model."""
    options = parser().parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over 5 min, Python {platform.python_version()}\n")
    if not options.model:
        fleet = Synthetic(options.airlines, options.tails, options.items, options.moving, options.beating)
        print(f"\nMEASURED = {measure(fleet, options)}\n")
    print(needs.document())


if __name__ == "__main__":
    main()
