"""A job of `benchmarks.polling`: how far the rows are behind while changes arrive continuously."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.polling import goals
from benchmarks.polling.deployment import PYTHON, Deployment
from benchmarks.polling.fleet import AIRLINE
from benchmarks.polling.rows import watch_rows
from benchmarks.polling.setup import Bench
from benchmarks.shared.goals import median
from benchmarks.shared.processes import ROOT, MeasurementError
from ifeportal.embedded.processes import Process

WARM_UP: Final = 0.25  # of the measured time, before it
PATIENCE: Final = 120.0  # seconds for the last changes to be seen
WATCHED_OBJECTS: Final = 500  # objects at least, of the changing ones


def arriving_changes(bench: Bench, deployed: Deployment) -> None:
    """Run `poll_buckets` while one process writes at a steady rate and a thread reads the rows."""
    seconds, step = (1 + WARM_UP) * bench.seconds, max(len(deployed.fleet) // WATCHED_OBJECTS, 1)
    job = f"{bench.rate:g} changes a second arriving, {len(deployed.fleet):,} objects"
    written = deployed.fleet.round_robin(round(bench.rate * seconds))
    bench.log(f"{job} on {deployed.fleet.tails:,} tails, for {seconds:.0f} s")
    with _running_poller(deployed) as output, watch_rows(deployed.database, step) as observations:
        acknowledged = deployed.writers.put_paced(written, bench.rate).result()
        _wait(
            lambda: all(
                key not in observations or observations[key][-1][1] == value for key, value in deployed.fleet.objects()
            )
        )
    actual_rate = len(written) / (max(acknowledged) - min(acknowledged))
    counted = round(bench.rate * WARM_UP * bench.seconds)
    delays = goals.write_delays(written[counted:], acknowledged[counted:], observations)
    bench.check_rows(deployed)
    cycles = [json.loads(line)["seconds"] for line in output.read_text().splitlines() if line.startswith("{")]
    bench.add_note(
        f"{job}: {actual_rate:.0f} were written, {len(delays):,} watched; a cycle took {median(cycles):.2f} s"
    )
    bench.rows["arriving"] += goals.arriving_rows(job, delays, bench.rate / actual_rate)


@contextmanager
def _running_poller(deployed: Deployment) -> Iterator[Path]:
    """Run `poll_buckets` and yield its output file. Raises MeasurementError if it exits early."""
    command = [PYTHON, "manage.py", "poll_buckets", "--airline", AIRLINE, "--interval", "2s", "--json"]
    log = deployed.folder / "poll_buckets.log"
    process = Process("poll_buckets", command, log=log, environment=deployed.environment, folder=ROOT)
    process.start()
    try:
        _wait(lambda: log.stat().st_size or process.ended is not None)
        yield log
        if process.ended is not None:
            raise MeasurementError(f"poll_buckets exited:\n{process.log_tail()}")
    finally:
        process.stop()


def _wait(ready: Callable[[], object]) -> None:
    """Wait until `ready` returns true, at most PATIENCE seconds. Changes not seen by then are counted as missed."""
    deadline = time.monotonic() + PATIENCE
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.1)
