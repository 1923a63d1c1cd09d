"""Compare the loader with s5cmd, rclone and the aws CLI, and with its own goals: `python -m benchmarks.loader`.

Runs SeaweedFS on this machine and each program as a separate process with the options its users use. The programs take
turns in one run (A B C A B C …); medians and ratios are compared. Every file that a program wrote is compared with the
hash of the published content. Exits with 1 if a goal is missed. The job `link` needs root. Needs the peers (`make
bench` installs them) and about 8 GB of disk, 25 GB with the job `rss`. Touches a folder, the loopback interface and the
processes it starts.
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
from functools import partial
from pathlib import Path

from benchmarks.loader import scenarios
from benchmarks.loader.scenarios import Bench
from benchmarks.loader.setup import MEDIA, STATUS, GroundStore
from benchmarks.network.namespaces import unavailable_reason
from benchmarks.shared import peers
from benchmarks.shared.goals import JOBS, Row, parse_jobs, table
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
    """Start a new store in a new folder; both are removed at the end."""
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
    """Run the wanted jobs and return their rows. Raises MeasurementError. The job `rss` runs last, because it judges
    the memory of all runs.
    """
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
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    arguments.add_argument(
        "--only",
        type=partial(parse_jobs, JOBS),
        default=list(JOBS),
        help=f"jobs: {','.join(JOBS)} (all)",
        metavar="JOBS",
    )
    arguments.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each variant (%(default)s)")
    arguments.add_argument("--link-runs", type=int, default=3, metavar="N", help="runs over the bad link (%(default)s)")
    arguments.add_argument(
        "--idle", type=parse_duration, default=300.0, metavar="TIME", help="how long to measure the idle loader (5m)"
    )
    arguments.add_argument(
        "--big", type=parse_size, default=20 << 30, metavar="SIZE", help="size of the big item (20GiB)"
    )
    arguments.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="folder for the content (%(default)s)")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    return arguments


def main() -> None:
    """Measure and print a table. Exit with 1 if a goal is missed, 2 if measuring is not possible."""
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
        raise SystemExit(f"Not measured: {failure}") from failure
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
