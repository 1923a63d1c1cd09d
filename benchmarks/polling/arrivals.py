"""Changes that arrive all the time: how far behind the rows are. A job of `benchmarks.polling`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.polling import goals
from benchmarks.polling.fleet import AIRLINE
from benchmarks.polling.rows import watched
from benchmarks.polling.setup import Bench
from benchmarks.polling.world import PYTHON, World
from benchmarks.shared.goals import middle
from benchmarks.shared.processes import ROOT, Failed
from ifeportal.embedded.processes import Process

WARM_UP: Final = 0.25  # of the time that counts, before it
PATIENCE: Final = 120.0  # seconds for the last changes to be seen
WATCHED: Final = 500  # objects, of those that change all the time


def arriving(bench: Bench, made: World) -> None:
    """The real command polls again and again while somebody writes at a steady rate; a third watches the rows."""
    seconds, step = (1 + WARM_UP) * bench.seconds, max(len(made.fleet) // WATCHED, 1)
    job = f"{bench.rate:g} changes a second arriving, {len(made.fleet):,} objects"
    written = made.fleet.round_robin(round(bench.rate * seconds))
    bench.say(f"{job} on {made.fleet.tails:,} tails, for {seconds:.0f} s")
    with _polling(made) as told, watched(made.database, step) as seen:
        acknowledged = made.writers.paced(written, bench.rate).result()
        _wait(lambda: all(key not in seen or seen[key][-1][1] == value for key, value in made.fleet.written()))
    reached = len(written) / (max(acknowledged) - min(acknowledged))
    counted = round(bench.rate * WARM_UP * bench.seconds)
    delays = goals.behind(written[counted:], acknowledged[counted:], seen)
    bench.check(made)
    cycles = [json.loads(line)["seconds"] for line in told.read_text().splitlines() if line.startswith("{")]
    bench.note(f"{job}: {reached:.0f} were written, {len(delays):,} watched; a cycle took {middle(cycles):.2f} s")
    bench.rows["arriving"] += goals.arriving(job, delays, bench.rate / reached)


@contextmanager
def _polling(made: World) -> Iterator[Path]:
    """`poll_buckets` at its default interval; what it prints is in the file. Raises Failed if it ends by itself."""
    command = [PYTHON, "manage.py", "poll_buckets", "--airline", AIRLINE, "--interval", "2s", "--json"]
    log = made.folder / "poll_buckets.log"
    process = Process("poll_buckets", command, log=log, environment=made.told, folder=ROOT)
    process.start()
    try:
        _wait(lambda: log.stat().st_size or process.ended is not None)
        yield log
        if process.ended is not None:
            raise Failed(f"poll_buckets has ended:\n{process.log_tail()}")
    finally:
        process.stop()


def _wait(ready: Callable[[], object]) -> None:
    """Until it is so, or the patience is at its end: what then is missing is found missing."""
    deadline = time.monotonic() + PATIENCE
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.1)
