"""`simulate_fleet`: write the status traffic of a large invented fleet, for load tests and benchmarks."""

from __future__ import annotations

import json
import threading
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from fleet.simulation.plan import FleetPlan
from fleet.simulation.run import NameTaken, Report, Tell, remove_fleet, write_fleet
from ifeportal.management.argument_types import duration
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.contract.units import parse_size
from loader.errors import ContractError, ExitCode, WorldError

HELP: Final = """Write what the loaders of an invented fleet would write, into the buckets of the settings.

First each airline's campaign.json into the media bucket and the progress 0 of every item into the status bucket, as
fast as the store takes it. Then, at the rate asked for, what loaders write: items that advance, fail and recover, stall
and begin again, and heartbeats. The same options and seed give the same changes in the same order. No content is
written, and the database is not touched.

Airlines are called SIM001, SIM002 and so on, tails S1-AAA. Where such an airline has objects already nothing is
written; --remove deletes what earlier runs wrote, and only that. It ends after --for, or once everything is aboard, or
with SIGTERM or Ctrl-C; what it had begun to write is written.

Exit: 0 done, or told to stop; 1 not all of it could be written; 2 usage, or names that are taken; 75 the store refused
or could not be reached.
"""
SHARES: Final = {
    "failing": "of the tails: at one item an error, that ends once the tail has the others",
    "stalling": "of the tails: at one item nothing is heard of them for --pause",
    "restarting": "of the tails: one item begins again",
    "foreign": "of the loaders: somebody else's, with any number of bytes, errors without a code, no heartbeat",
}


class Command(BaseCommand):
    help = HELP
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add, plan = parser.add_argument, FleetPlan()
        add("--airlines", type=int, default=plan.airlines, metavar="A", help="how many (default %(default)s)")
        add("--tails", type=int, default=plan.tails, metavar="T", help="of each airline (default %(default)s)")
        add("--items", type=int, default=plan.items, metavar="I", help="of the campaign (default %(default)s)")
        add(
            "--rate",
            type=float,
            default=plan.rate,
            metavar="R",
            help="changes a second, of all (default %(default)s)",
        )
        add("--seed", type=int, default=plan.seed, metavar="N", help="decides what is left to chance (%(default)s)")
        add("--for", type=duration, dest="seconds", metavar="10min", help="how long; else until everything is aboard")
        add("--size", type=size, default=plan.size, metavar="700MB", help="of an item, on average (default 700MB)")
        add("--campaign", default=plan.campaign, metavar="C", help="its name (default %(default)s)")
        for name, meaning in SHARES.items():
            default = getattr(plan, name)
            add(f"--{name}", type=share, default=default, metavar="1%", help=f"{meaning} (default {default:.1%}%)")
        add("--pause", type=duration, default=plan.pause, metavar="15min", help="how long one that stalls is silent")
        add("--airline-prefix", dest="prefix", default=plan.prefix, metavar="SIM", help="of the airlines' names")
        add("--media", action="store_true", default=True, help="write each campaign.json, so that totals are known")
        add("--no-media", action="store_false", dest="media", help="write none")
        add("--remove", action="store_true", help="delete what earlier runs wrote with this --airline-prefix, and end")
        add("--json", action="store_true", help="print one JSON object at the end, progress to stderr")

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
            raise CommandError(f"{report.lost:,} changes could not be written", returncode=ExitCode.SOME_FAILED)

    def _run(self, plan: FleetPlan, stop: threading.Event, options: dict[str, Any]) -> Report:
        media, status, tell = media_bucket(), status_bucket(), self._teller(as_json=options["json"])
        try:
            if options["remove"]:
                return remove_fleet(plan.prefix, media, status, stop, tell)
            return write_fleet(plan, media, status, stop, tell, publish=options["media"])
        except NameTaken as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        except WorldError as error:
            raise CommandError(f"{error.code}: {error}", returncode=ExitCode.UNREACHABLE) from error

    def _teller(self, *, as_json: bool) -> Tell:
        stream = self.stderr if as_json else self.stdout

        def tell(line: str) -> None:
            stream.write(f"{timezone.localtime():%H:%M:%S}  {line}", style_func=str)
            stream.flush()

        return tell


def size(text: str) -> int:
    """Bytes, from a size as people write it."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def share(text: str) -> float:
    """A share from 0 to 1, from "1%" or "0.01"."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a share; write it like 1% or 0.01") from error


def format_report(report: Report) -> str:
    """A run in one line."""
    if not report.announced:
        return f"{report.deletes:,} objects deleted in {report.seconds:.1f} s"
    return (
        f"{report.announced:,} items announced, {report.changes:,} changes, {report.puts:,} objects written and "
        f"{report.deletes:,} deleted in {report.seconds:.1f} s; at most {report.most_behind:.1f} s behind"
    )
