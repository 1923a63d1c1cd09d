"""The loader against s5cmd, rclone and the aws CLI, and against its own goals: `python -m benchmarks.loader`.

Everything is real: SeaweedFS on this machine, the commands as people run them, whole processes, side by side in one run
(A B C A B C …), medians, ratios. Every file that any of them wrote is compared with the sum of what was published.
Ends with 1 if a goal is missed. Needs root for the job `link`, the peers (`make bench` installs them), and room: about
8 GB, with the job `rss` 25 GB. Touches a folder, the loopback interface and what it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.loader import scenarios
from benchmarks.loader.scenarios import Bench
from benchmarks.loader.setup import MEDIA, STATUS, GroundStore
from benchmarks.network.namespaces import unavailable_reason
from benchmarks.shared import peers
from benchmarks.shared.goals import JOBS, Row, table
from benchmarks.shared.machine import describe_machine
from benchmarks.shared.processes import MeasurementError
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.units import parse_duration, parse_size

OTHER_JOBS = (
    ("once", scenarios.once),
    ("resume", scenarios.resume),
    ("idle", scenarios.idle),
    ("link", scenarios.over_bad_link),
    ("rss", scenarios.memory),
)


@contextmanager
def prepared_bench(options: argparse.Namespace) -> Iterator[Bench]:
    """A new store in a new folder, gone afterwards."""
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="ifeportal-loader-") as folder,
        SeaweedFS(Path(folder) / "store") as store,
    ):
        for name in (MEDIA, STATUS):
            store.create_bucket(name)
        yield Bench(
            GroundStore(Path(folder), store, store.endpoint),
            Path(folder),
            options.runs,
            options.link_runs,
            options.idle,
            options.big,
            lambda line: print(line, file=sys.stderr, flush=True),
        )


def run_jobs(bench: Bench, wanted: Sequence[str]) -> list[Row]:
    """Every wanted job; the memory last, since it judges all runs. Raises Failed."""
    rows: list[Row] = []
    for job in ("b", "a", "c"):
        if job in wanted or (job == "a" and "progress" in wanted):
            bench.log(JOBS[job])
            rows += scenarios.throughput(bench, job, wanted=wanted)
    for job, measure in OTHER_JOBS:
        if job in wanted:
            bench.log(JOBS[job])
            rows += measure(bench)
    return sorted(rows, key=lambda row: list(JOBS).index(row.job))


def parser() -> argparse.ArgumentParser:
    """The options."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    arguments.add_argument("--only", type=_names, default=list(JOBS), help=f"of {','.join(JOBS)} (all)", metavar="JOBS")
    arguments.add_argument("--runs", type=int, default=5, metavar="N", help="of each variant (%(default)s)")
    arguments.add_argument("--link-runs", type=int, default=3, metavar="N", help="over the bad link (%(default)s)")
    arguments.add_argument("--idle", type=parse_duration, default=300.0, metavar="TIME", help="to watch it wait (5m)")
    arguments.add_argument("--big", type=parse_size, default=20 << 30, metavar="SIZE", help="of the big item (20GiB)")
    arguments.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where there is room (%(default)s)")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    return arguments


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - JOBS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(JOBS)}")
    return names


def main() -> None:
    """Measure as the options say and print a table. Exit code 1 if a goal is missed, 2 if nothing can be measured."""
    options = parser().parse_args()
    if reason := unavailable_reason() if "link" in options.only else "":
        parser().error(f"{reason} Leave the job out with --only.")
    if missing := peers.missing():
        parser().error(f"{', '.join(missing)} not found in {peers.BIN}: `make bench` installs them.")
    load_before = os.getloadavg()
    try:
        with prepared_bench(options) as bench:
            rows = run_jobs(bench, options.only)
    except MeasurementError as failure:
        raise SystemExit(f"Nothing can be said: {failure}") from failure
    description = f"{describe_machine()}, Python {platform.python_version()}, {peers.versions()}"
    load = f"load {load_before[1]:.1f} before"
    if options.json:
        costs = {
            job: {name: [asdict(cost) for cost in runs] for name, runs in by.items()} for job, by in bench.costs.items()
        }
        report = {"machine": description, "load": load, "rows": [row.as_json() for row in rows], "costs": costs}
        options.json.write_text(json.dumps(report, indent=1))
    print(f"{description}, {load}\n\n{table(rows)}")
    raise SystemExit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
