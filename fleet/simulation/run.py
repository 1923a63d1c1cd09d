"""Run a simulated fleet in the two buckets: write its traffic, or delete it. Touches only the buckets.

Nothing is written below the name of a real airline: a marker object identifies simulated ones.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fleet.simulation.plan import FleetPlan, PlannedWrite, initial_reports, manifests
from fleet.simulation.traffic import changes
from fleet.simulation.writer import ParallelWriter
from loader.s3.interface import Bucket

MARKER: Final = ".simulated"  # readers skip names that begin with a dot
MARK: Final = b"simulate_fleet wrote all objects of this airline and may delete them.\n"
Log = Callable[[str], None]


class NameTaken(Exception):
    """The name of an airline is already in use; `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run: items announced, then changes, of which `lost` could not be written; times in seconds.

    `fleet.simulation.expected.expected_after_count` returns the expected rows after this many `changes` if none is
    lost. `most_behind`: the longest delay of a write behind its schedule.
    """

    announced: int = 0
    changes: int = 0
    puts: int = 0
    deletes: int = 0
    lost: int = 0
    seconds: float = 0.0
    most_behind: float = 0.0


def write_fleet(
    plan: FleetPlan, media: Bucket, status: Bucket, stop: threading.Event, log: Log, *, publish: bool
) -> Report:
    """Announce the campaign (its manifests only if `publish`), then write the traffic at its rate until `stop`.

    `log` is called every few seconds with the progress. Raises NameTaken, and WorldError if a bucket denies access or
    cannot be reached before the traffic begins.
    """
    for bucket in (media, status):
        check(plan, bucket)
    if publish:
        mark(plan, media)
        _write_all(manifests(plan), media, stop, log, "manifests written")
    mark(plan, status)
    announced = _write_all(initial_reports(plan), status, stop, log, "items announced")
    started = time.monotonic()
    with ParallelWriter(status, stop) as traffic:

        def log_progress() -> None:
            done, seconds = traffic.puts + traffic.deletes, time.monotonic() - started
            log(
                f"{done:,} changes in {seconds:.0f} s, {done / seconds:.1f} per second, "
                f"{traffic.lag:.1f} s behind schedule"
            )

        taken = traffic.write_all(changes(plan), log_progress, paced=True)
    return Report(
        announced=announced,
        changes=taken,
        puts=traffic.puts,
        deletes=traffic.deletes,
        lost=traffic.lost,
        seconds=round(time.monotonic() - started, 3),
        most_behind=round(traffic.maximum_lag, 3),
    )


def remove_fleet(prefix: str, media: Bucket, status: Bucket, stop: threading.Event, log: Log) -> Report:
    """Delete the objects of earlier runs whose airline names begin with `prefix`. Raises WorldError."""
    started, deletes = time.monotonic(), 0
    for bucket in (status, media):
        for airline in simulated_airlines(prefix, bucket):
            deletes += _write_all(deletions(airline, bucket), bucket, stop, log, f"objects of {airline} deleted")
            if not stop.is_set():
                bucket.delete(f"{airline}/{MARKER}")
    return Report(deletes=deletes, seconds=round(time.monotonic() - started, 3))


def _write_all(written: Iterator[PlannedWrite], bucket: Bucket, stop: threading.Event, log: Log, what: str) -> int:
    """Write everything as fast as possible, and return how many writes. Raises WorldError."""
    with ParallelWriter(bucket, stop) as writer:
        taken = writer.write_all(written, lambda: log(f"{writer.puts + writer.deletes:,} {what}"), paced=False)
    if writer.failure is not None:
        raise writer.failure
    log(f"{taken:,} {what}")
    return taken


def check(plan: FleetPlan, bucket: Bucket) -> None:
    """Raises NameTaken if the bucket has objects of the fleet's airlines; WorldError."""
    names = {plan.airline(number) for number in range(plan.airlines)}
    for name in sorted(names.intersection(bucket.list_prefixes())):
        if _is_simulated(name, bucket):
            raise NameTaken(
                f"The bucket {bucket.name} has an earlier simulation of {name}. Delete it with simulate_fleet --remove."
            )
        if next(iter(bucket.list(f"{name}/")), None) is not None:
            raise NameTaken(
                f"The bucket {bucket.name} has objects of an airline {name} that simulate_fleet did not write. "
                "Choose other names with --airline-prefix."
            )


def mark(plan: FleetPlan, bucket: Bucket) -> None:
    """Write the marker of each airline of the fleet. Raises WorldError."""
    for number in range(plan.airlines):
        bucket.put(f"{plan.airline(number)}/{MARKER}", MARK)


def simulated_airlines(prefix: str, bucket: Bucket) -> list[str]:
    """Return the simulated airlines of earlier runs with this name prefix. Raises WorldError."""
    shape = re.compile(rf"{re.escape(prefix)}\d{{3}}")
    return [name for name in sorted(bucket.list_prefixes()) if shape.fullmatch(name) and _is_simulated(name, bucket)]


def deletions(airline: str, bucket: Bucket) -> Iterator[PlannedWrite]:
    """Yield the deletion of all objects of the airline except the marker. Raises WorldError."""
    for info in bucket.list(f"{airline}/"):
        if info.key != f"{airline}/{MARKER}":
            yield PlannedWrite(0.0, info.key, None)


def _is_simulated(airline: str, bucket: Bucket) -> bool:
    return bucket.get(f"{airline}/{MARKER}", 1) is not None
