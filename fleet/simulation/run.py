"""Runs an invented fleet in the two buckets: writes its traffic, and deletes it. Touches only the buckets.

Nothing is ever written where something else lies: what was made here is known by a marker.
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

MARKER: Final = ".simulated"  # as any name that begins with a dot, it is nobody's status
MARK: Final = b"Everything beside this was made by simulate_fleet, and simulate_fleet may delete it.\n"
Tell = Callable[[str], None]


class NameTaken(Exception):
    """There is something under an airline's name already; `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: progresses announced, then changes of the sequence, written or (`lost`) not; seconds.

    `fleet.simulation.expected.expected_after_count` tells what rows should say after so many `changes`, if none is
    lost. `most_behind`: how many seconds after its moment one was written, at most.
    """

    announced: int = 0
    changes: int = 0
    puts: int = 0
    deletes: int = 0
    lost: int = 0
    seconds: float = 0.0
    most_behind: float = 0.0


def write_fleet(
    plan: FleetPlan, media: Bucket, status: Bucket, stop: threading.Event, tell: Tell, *, publish: bool
) -> Report:
    """Announce the campaign (its manifests only if `publish`), then write the traffic at its rate until `stop`.

    `tell` hears every few seconds how it goes. Raises Taken, and WorldError if a bucket refuses or cannot be reached
    before the traffic begins.
    """
    for bucket in (media, status):
        check(plan, bucket)
    if publish:
        mark(plan, media)
        _at_once(manifests(plan), media, stop, tell, "manifests written")
    mark(plan, status)
    announced = _at_once(initial_reports(plan), status, stop, tell, "items announced")
    started = time.monotonic()
    with ParallelWriter(status, stop) as traffic:

        def told() -> None:
            done, seconds = traffic.puts + traffic.deletes, time.monotonic() - started
            tell(f"{done:,} changes in {seconds:.0f} s, {done / seconds:.1f} a second; {traffic.lag:.1f} s behind")

        taken = traffic.write_all(changes(plan), told, paced=True)
    return Report(
        announced=announced,
        changes=taken,
        puts=traffic.puts,
        deletes=traffic.deletes,
        lost=traffic.lost,
        seconds=round(time.monotonic() - started, 3),
        most_behind=round(traffic.maximum_lag, 3),
    )


def remove_fleet(prefix: str, media: Bucket, status: Bucket, stop: threading.Event, tell: Tell) -> Report:
    """Delete what earlier runs wrote for airlines whose names begin with `prefix`. Raises WorldError."""
    started, deletes = time.monotonic(), 0
    for bucket in (status, media):
        for airline in simulated_airlines(prefix, bucket):
            deletes += _at_once(deletions(airline, bucket), bucket, stop, tell, f"objects of {airline} deleted")
            if not stop.is_set():
                bucket.delete(f"{airline}/{MARKER}")
    return Report(deletes=deletes, seconds=round(time.monotonic() - started, 3))


def _at_once(written: Iterator[PlannedWrite], bucket: Bucket, stop: threading.Event, tell: Tell, what: str) -> int:
    """Write everything as fast as can be, and return how many. Raises WorldError."""
    with ParallelWriter(bucket, stop) as pouring:
        taken = pouring.write_all(written, lambda: tell(f"{pouring.puts + pouring.deletes:,} {what}"), paced=False)
    if pouring.failure is not None:
        raise pouring.failure
    tell(f"{taken:,} {what}")
    return taken


def check(plan: FleetPlan, bucket: Bucket) -> None:
    """Raises Taken unless nothing lies under the names of the fleet's airlines; WorldError."""
    names = {plan.airline(number) for number in range(plan.airlines)}
    for name in sorted(names.intersection(bucket.list_prefixes())):
        if _is_ours(name, bucket):
            raise NameTaken(f"{bucket.name} holds an earlier simulation of {name}; simulate_fleet --remove deletes it")
        if next(iter(bucket.list(f"{name}/")), None) is not None:
            raise NameTaken(
                f"{bucket.name} holds objects of an airline {name} that simulate_fleet did not make; "
                "choose other names with --airline-prefix"
            )


def mark(plan: FleetPlan, bucket: Bucket) -> None:
    """Make the prefixes of the fleet's airlines known as ours. Raises WorldError."""
    for number in range(plan.airlines):
        bucket.put(f"{plan.airline(number)}/{MARKER}", MARK)


def simulated_airlines(prefix: str, bucket: Bucket) -> list[str]:
    """The airlines that earlier runs made with this prefix of their names. Raises WorldError."""
    shape = re.compile(rf"{re.escape(prefix)}\d{{3}}")
    return [name for name in sorted(bucket.list_prefixes()) if shape.fullmatch(name) and _is_ours(name, bucket)]


def deletions(airline: str, bucket: Bucket) -> Iterator[PlannedWrite]:
    """The deletion of all that lies under the airline's name but the marker. Raises WorldError."""
    for found in bucket.list(f"{airline}/"):
        if found.key != f"{airline}/{MARKER}":
            yield PlannedWrite(0.0, found.key, None)


def _is_ours(airline: str, bucket: Bucket) -> bool:
    return bucket.get(f"{airline}/{MARKER}", 1) is not None
