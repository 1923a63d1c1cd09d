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
from benchmarks.loader.setup import MEDIA, STATUS, Ground
from benchmarks.network.namespaces import why_not
from benchmarks.shared import peers
from benchmarks.shared.goals import JOBS, Row, table
from benchmarks.shared.machine import machine
from benchmarks.shared.processes import Failed
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.units import parse_duration, parse_size

OTHERS = (
    ("once", scenarios.once),
    ("resume", scenarios.resumed),
    ("idle", scenarios.idle),
    ("link", scenarios.shaped),
    ("rss", scenarios.memory),
)


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Bench]:
    """A new store in a new folder, gone afterwards."""
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="ifeportal-loader-") as made,
        SeaweedFS(Path(made) / "store") as store,
    ):
        for name in (MEDIA, STATUS):
            store.create_bucket(name)
        yield Bench(
            Ground(Path(made), store, store.endpoint),
            Path(made),
            options.runs,
            options.link_runs,
            options.idle,
            options.big,
            lambda line: print(line, file=sys.stderr, flush=True),
        )


def work(bench: Bench, wanted: Sequence[str]) -> list[Row]:
    """Every wanted job; the memory last, since it judges all runs. Raises Failed."""
    rows: list[Row] = []
    for job in ("b", "a", "c"):
        if job in wanted or (job == "a" and "progress" in wanted):
            bench.say(JOBS[job])
            rows += scenarios.throughput(bench, job, wanted=wanted)
    for job, measure in OTHERS:
        if job in wanted:
            bench.say(JOBS[job])
            rows += measure(bench)
    return sorted(rows, key=lambda row: list(JOBS).index(row.job))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    made.add_argument("--only", type=_names, default=list(JOBS), help=f"of {','.join(JOBS)} (all)", metavar="JOBS")
    made.add_argument("--runs", type=int, default=5, metavar="N", help="of each variant (%(default)s)")
    made.add_argument("--link-runs", type=int, default=3, metavar="N", help="over the bad link (%(default)s)")
    made.add_argument("--idle", type=parse_duration, default=300.0, metavar="TIME", help="to watch it wait (5m)")
    made.add_argument("--big", type=parse_size, default=20 << 30, metavar="SIZE", help="of the big item (20GiB)")
    made.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where there is room (%(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    return made


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - JOBS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(JOBS)}")
    return names


def main() -> None:
    """Measure as the options say and print a table. Exit code 1 if a goal is missed, 2 if nothing can be measured."""
    options = parser().parse_args()
    if reason := why_not() if "link" in options.only else "":
        parser().error(f"{reason} Leave the job out with --only.")
    if missing := peers.missing():
        parser().error(f"{', '.join(missing)} not found in {peers.BIN}: `make bench` installs them.")
    began = os.getloadavg()
    try:
        with prepared(options) as bench:
            rows = work(bench, options.only)
    except Failed as failure:
        raise SystemExit(f"Nothing can be said: {failure}") from failure
    about = f"{machine()}, Python {platform.python_version()}, {peers.versions()}"
    load = f"load {began[1]:.1f} before"
    if options.json:
        costs = {
            job: {name: [asdict(cost) for cost in of] for name, of in by.items()} for job, by in bench.costs.items()
        }
        told = {"machine": about, "load": load, "rows": [row.as_json() for row in rows], "costs": costs}
        options.json.write_text(json.dumps(told, indent=1))
    print(f"{about}, {load}\n\n{table(rows)}")
    raise SystemExit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
