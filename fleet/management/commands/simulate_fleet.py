"""`simulate_fleet`: write the status traffic of a large simulated fleet, for load tests and benchmarks."""

from __future__ import annotations

import json
import threading
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from fleet.simulation.plan import FleetPlan
from fleet.simulation.run import Log, NameTaken, Report, remove_fleet, write_fleet
from ifeportal.management.argument_types import duration
from ifeportal.management.base import FormattedHelpCommand
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.contract.units import parse_size
from loader.errors import ContractError, ExitCode, WorldError

HELP: Final = """Write the traffic of a simulated fleet to the configured buckets.

The command first writes the campaign.json of each airline to the media bucket and progress 0 of every item to the
status bucket, as fast as possible. Then it writes what loaders report, at the given rate: progress, errors and
recoveries, stalls, restarts, and heartbeats. The same options and seed give the same writes in the same order. It
writes no content and does not use the database.

Airlines are named SIM001, SIM002 and so on, tails S1-AAA and so on. If such an airline already has objects, nothing is
written. --remove deletes the objects of earlier runs, and nothing else. The command ends after --for, when every tail
has every item, or with SIGTERM or Ctrl-C; writes in progress are completed.

Exit codes: 0 success, or stopped; 1 some writes failed; 2 usage error, or names in use; 75 the store denied access or
was unreachable.
"""
SHARES: Final = {
    "failing": "share of tails on which one item fails, until all others are complete",
    "stalling": "share of tails that are silent for --pause at one item",
    "restarting": "share of tails on which one item restarts from 0",
    "foreign": "share of third-party loaders: any number of bytes, errors without a code, no heartbeat",
}


class Command(FormattedHelpCommand):
    help = HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add, plan = parser.add_argument, FleetPlan()
        add("--airlines", type=int, default=plan.airlines, metavar="A", help="number of airlines (default %(default)s)")
        add("--tails", type=int, default=plan.tails, metavar="T", help="tails per airline (default %(default)s)")
        add("--items", type=int, default=plan.items, metavar="I", help="items of the campaign (default %(default)s)")
        add(
            "--rate",
            type=float,
            default=plan.rate,
            metavar="R",
            help="writes per second of the complete fleet (default %(default)s)",
        )
        add("--seed", type=int, default=plan.seed, metavar="N", help="seed of the random choices (default %(default)s)")
        add(
            "--for",
            type=duration,
            dest="seconds",
            metavar="10min",
            help="duration (default: until every tail has every item)",
        )
        add("--size", type=size, default=plan.size, metavar="700MB", help="average size of an item (default 700MB)")
        add("--campaign", default=plan.campaign, metavar="C", help="name of the campaign (default %(default)s)")
        for name, meaning in SHARES.items():
            default = getattr(plan, name)
            add(f"--{name}", type=share, default=default, metavar="1%", help=f"{meaning} (default {default:.1%}%)")
        add("--pause", type=duration, default=plan.pause, metavar="15min", help="duration of a stall (default 15min)")
        add(
            "--airline-prefix",
            dest="prefix",
            default=plan.prefix,
            metavar="SIM",
            help="prefix of the airline names (default %(default)s)",
        )
        add(
            "--media",
            action="store_true",
            default=True,
            help="write each campaign.json, so that totals are known (default)",
        )
        add("--no-media", action="store_false", dest="media", help="write no campaign.json")
        add(
            "--remove",
            action="store_true",
            help="delete the objects of earlier runs with this --airline-prefix, and exit",
        )
        add("--json", action="store_true", help="print one JSON object at the end; progress goes to stderr")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            named = {name: options[name] for name in FleetPlan.__dataclass_fields__ if name in options}
            plan = FleetPlan(**named, begins=timezone.now().replace(microsecond=0))
        except (ValueError, ContractError) as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        stop = threading.Event()
        stop_on_signal(stop)
        report = self._run(plan, stop, options)
        self.stdout.write(json.dumps(asdict(report)) if options["json"] else format_report(report))
        if report.lost:
            raise CommandError(f"{report.lost:,} writes failed", returncode=ExitCode.SOME_FAILED)

    def _run(self, plan: FleetPlan, stop: threading.Event, options: dict[str, Any]) -> Report:
        media, status, log = media_bucket(), status_bucket(), self._progress_log(as_json=options["json"])
        try:
            if options["remove"]:
                return remove_fleet(plan.prefix, media, status, stop, log)
            return write_fleet(plan, media, status, stop, log, publish=options["media"])
        except NameTaken as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        except WorldError as error:
            raise CommandError(f"{error.code}: {error}", returncode=ExitCode.UNREACHABLE) from error

    def _progress_log(self, *, as_json: bool) -> Log:
        stream = self.stderr if as_json else self.stdout

        def log(line: str) -> None:
            stream.write(f"{timezone.localtime():%H:%M:%S}  {line}", style_func=str)
            stream.flush()

        return log


def size(text: str) -> int:
    """Return the bytes of a size such as "700MB". Raises ArgumentTypeError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def share(text: str) -> float:
    """Return a share from 0 to 1, from "1%" or "0.01". Raises ArgumentTypeError."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a share. Write it as 1% or 0.01.") from error


def format_report(report: Report) -> str:
    """Return the result of a run as one line."""
    if not report.announced:
        return f"{report.deletes:,} objects deleted in {report.seconds:.1f} s"
    return (
        f"{report.announced:,} items announced, {report.changes:,} changes, {report.puts:,} objects written and "
        f"{report.deletes:,} deleted in {report.seconds:.1f} s; at most {report.most_behind:.1f} s behind schedule"
    )
