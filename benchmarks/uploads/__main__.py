"""Measure uploads from browsers, and the operations that check and place them: `python -m benchmarks.uploads`.

Each job has a new SeaweedFS, a new PostgreSQL and a new portal on this machine. The browser, the worker and their peers
take turns in one run (A B A B …); medians and ratios are compared. Exits with 1 if a goal is missed. Needs Chromium,
s5cmd (`make bench` installs it), openssl, and space for about 16 files of `--size`. Touches a folder, the loopback
interface and the processes it starts, and removes all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.shared.goals import parse_jobs, table
from benchmarks.shared.machine import describe_machine
from benchmarks.shared.peers import S5CMD
from benchmarks.shared.processes import MeasurementError
from benchmarks.uploads.scenarios import JOBS
from benchmarks.uploads.setup import Bench
from loader.contract.units import parse_size


def run_jobs(bench: Bench, wanted: Sequence[str]) -> list[str]:
    """Run the wanted jobs; return a sentence for each that failed. Their stores are removed one by one."""
    failures = []
    for name in wanted:
        bench.log(name)
        try:
            JOBS[name](bench)
        except (MeasurementError, AssertionError) as failure:
            failures.append(f"{name}: not measured: {failure}")
        shutil.rmtree(bench.folder / name, ignore_errors=True)
    return failures


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    add = arguments.add_argument
    add(
        "--only",
        type=partial(parse_jobs, JOBS),
        default=list(JOBS),
        metavar="JOBS",
        help=f"jobs: {','.join(JOBS)} (all)",
    )
    add("--runs", type=int, default=3, metavar="N", help="runs of each variant (%(default)s)")
    add("--size", type=parse_size, default=1 << 30, metavar="SIZE", help="size of a file (1GiB)")
    add("--browsers", type=int, default=20, metavar="N", help="browsers that upload at once (%(default)s)")
    add("--browser-size", type=parse_size, default=128 << 20, metavar="SIZE", help="size of each one's file (128MiB)")
    add("--waiting", type=int, default=10_000, metavar="N", help="operations that wait for admission (%(default)s)")
    add("--samples", type=int, default=100, metavar="N", help="changes of an operation (%(default)s)")
    add("--folder", type=Path, default=Path("/var/tmp"), help="folder for the content (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the results to this file")
    return arguments


def main() -> None:
    """Measure and print a table. Exit with 1 if a goal is missed or a job failed."""
    options = parser().parse_args()
    if not S5CMD.exists():
        parser().error(f"{S5CMD} not found: `make bench` installs it.")
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ifeportal-uploads-") as folder:
        bench = Bench(
            Path(folder),
            options.runs,
            options.size,
            options.browsers,
            options.browser_size,
            options.waiting,
            options.samples,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
        failures = run_jobs(bench, options.only)
    description = f"{describe_machine()}, Python {platform.python_version()}, load {load_before[1]:.1f} before"
    if options.json:
        report = {"machine": description, "rows": [row.as_json() for row in bench.rows], "failures": failures}
        options.json.write_text(json.dumps(report, indent=1))
    print(f"{description}\n\n{table(bench.rows)}")
    print("\n".join(failures), file=sys.stderr)
    raise SystemExit(bool(failures) or not all(row.met for row in bench.rows))


if __name__ == "__main__":
    main()
