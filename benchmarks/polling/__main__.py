"""Compare polling of the status bucket with programs that mirror it: `python -m benchmarks.polling`.

Runs SeaweedFS and PostgreSQL on this machine and each program as a separate process. They take turns in one run (A B C
A B C …); medians and ratios are compared. After every run the database rows, and the folders of the peers, are compared
with what was written. Exits with 1 if a goal is missed. Needs curl, the peers (`make bench` installs them) and space
for 500,000 small files. Touches a folder, the loopback interface and the processes it starts, and removes all of them,
also after an interrupt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.polling import goals, scenarios
from benchmarks.polling import peers as polling_peers
from benchmarks.polling.peers import CURL, NAMES
from benchmarks.polling.setup import KINDS, Bench
from benchmarks.shared import peers
from benchmarks.shared.goals import Row, parse_jobs, table
from benchmarks.shared.machine import describe_machine
from benchmarks.shared.processes import MeasurementError
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.units import parse_duration

JOBS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "large": scenarios.large,
    "small": scenarios.small,
    "million": scenarios.million,
}
DEFAULT: Final = ["large", "small"]


@contextmanager
def prepared_bench(options: argparse.Namespace, names: Sequence[str]) -> Iterator[Bench]:
    """Start a new store in a new folder; both are removed at the end."""
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="ifeportal-polling-") as folder,
        SeaweedFS(Path(folder) / "store") as store,
    ):
        yield Bench(
            store,
            options.database,
            Path(folder),
            names,
            options.runs,
            options.scale,
            options.seed,
            options.rate,
            options.seconds,
            lambda line: print(line, file=sys.stderr, flush=True),
            options.profiles,
        )


def run_jobs(bench: Bench, wanted: Sequence[str]) -> list[str]:
    """Run the wanted jobs; return a sentence for each job that failed."""
    failures = []
    for name in wanted:
        try:
            JOBS[name](bench)
        except MeasurementError as failure:
            failures.append(f"{name}: not measured: {failure}")
    return failures


def rows(bench: Bench) -> list[Row]:
    """Return the results in the order of KINDS. Growth and missed values cover all jobs together."""
    before = [row for kind in KINDS if kind not in ("arriving", "memory") for row in bench.rows[kind]]
    after = [*bench.rows["arriving"], *bench.rows["memory"]]
    return [*before, *goals.growth_rows(bench.walls), *after, Row("any", "values missed", 0, bench.missed, "count")]


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=__doc__)
    arguments.add_argument(
        "--only",
        type=partial(parse_jobs, JOBS),
        default=DEFAULT,
        metavar="JOBS",
        help=f"jobs: {','.join(JOBS)} (large,small)",
    )
    arguments.add_argument(
        "--database", choices=["sqlite", "postgresql"], default="postgresql", help="database to poll into (%(default)s)"
    )
    arguments.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each variant (%(default)s)")
    arguments.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="factor for the size of all fleets (%(default)s)"
    )
    arguments.add_argument("--rate", type=float, default=500.0, metavar="N", help="changes per second (%(default)s)")
    arguments.add_argument(
        "--seconds", type=parse_duration, default=60.0, metavar="TIME", help="duration of the continuous changes (1m)"
    )
    arguments.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random numbers (%(default)s)")
    arguments.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="folder for the content (%(default)s)")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    arguments.add_argument(
        "--profiles", type=Path, metavar="FOLDER", help="write profiles of two cycles to this folder"
    )
    return arguments


def main() -> None:
    """Measure and print the tables. Exit with 1 if a goal is missed, 2 if measuring is not possible."""
    options = parser().parse_args()
    if missing := [*peers.missing(), *polling_peers.missing()]:
        parser().error(f"{', '.join(missing)} not found: `make bench` installs the peers; install curl yourself.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that all context managers clean up
    if options.profiles:
        options.profiles.mkdir(parents=True, exist_ok=True)
    load = f"load {os.getloadavg()[1]:.1f} before, seed {options.seed}, {options.database}"
    with prepared_bench(options, [*NAMES, CURL]) as bench:
        failures = run_jobs(bench, options.only)
    found = rows(bench)
    programs = f"{peers.versions()}, {polling_peers.curl_version()}"
    description = f"{describe_machine()}, Python {platform.python_version()}, {programs}, {load}"
    if options.json:
        report = {
            "about": description,
            "rows": [row.as_json() for row in found],
            "ways": [asdict(way) for way in bench.ways],
        }
        options.json.write_text(json.dumps(report | {"failures": failures}, indent=1))
    left_out = [f"{name}: not run, because --only does not name it" for name in JOBS if name not in options.only]
    notes = [*bench.notes, *failures, *left_out]
    print(description, "", table(found), "", goals.ways_table(bench.ways), "", *notes, sep="\n")
    raise SystemExit(bool(failures) or not all(row.met for row in found))


if __name__ == "__main__":
    main()
