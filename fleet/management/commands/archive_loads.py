"""`archive_loads`: pack the reports of finished loads into one object each, or list the loads that are due."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from fleet import usage
from fleet.archive.archiver import ArchiveOutcome, archive_after_days, archive_due, preview
from fleet.usage import RequestCounts, RequestMeter
from ifeportal.management.base import FormattedHelpCommand
from ifeportal.models import Airline
from ifeportal.storage.buckets import status_bucket
from ifeportal.storage.deletion_time import deletion_time
from loader.errors import ExitCode, WorldError

HELP: Final = """Pack the reports of each finished load into one object, verify it, and delete the reports.

A load is due when it finished more days ago than the airline's setting or ARCHIVE_AFTER, without reports since then.
The command can be interrupted and run again at any time, and can run beside the job that does the same. The portal's
key needs s3:PutObject on <airline>/.archive/ and s3:DeleteObject on the airline's other objects in the status bucket.

Exit codes: 0 success; 2 usage error; 75 the store denied access or was unreachable (nothing is lost, try again).
"""
OBJECTS_PER_LISTING: Final = 1_000


@dataclass(slots=True)
class ArchiveTotals:
    """Totals of a run or a dry run: loads, deleted objects, bytes of archives, and skipped loads."""

    loads: int = 0
    objects: int = 0
    bytes: int = 0
    left_alone: int = 0
    listings: int = 0

    def add(self, outcome: ArchiveOutcome) -> None:
        """Add the outcome of one load."""
        if outcome.left_alone:
            self.left_alone += 1
            return
        self.loads += 1
        self.objects += outcome.objects
        self.bytes += outcome.bytes
        self.listings += 2 * max(1, -(-outcome.objects // OBJECTS_PER_LISTING))

    def requests(self) -> RequestCounts:
        """Return the requests of a run: per load two listings, one PUT and two GETs; per object a GET and a DELETE."""
        return RequestCounts(
            self.listings, 2 * self.loads + self.objects, put_requests=self.loads, delete_requests=self.objects
        )


class Command(FormattedHelpCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", metavar="A", help="archive loads of this airline only")
        parser.add_argument("--dry-run", action="store_true", help="list the loads that are due, without any request")
        parser.add_argument(
            "--older-than", type=days, metavar="DAYS", help="overrides the setting of the airline and ARCHIVE_AFTER"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        airlines = Airline.objects.order_by("name")
        if options["airline"] is not None:
            airlines = airlines.filter(name=options["airline"])
            if not airlines:
                raise CommandError(f"the airline {options['airline']!r} does not exist", returncode=ExitCode.USAGE)
        sums, sent = ArchiveTotals(), RequestCounts()
        try:
            if options["dry_run"]:
                self._follow(_planned(airlines, options["older_than"]), sums, options)
                sent = sums.requests()
            else:
                sent = self._archive(airlines, sums, options)
        except WorldError as error:
            raise CommandError(f"{error.code}: {error}", returncode=ExitCode.UNREACHABLE) from error
        finally:
            usage.flush(timezone.now(), at_once=True)
        self._tell(sums, sent, options)

    def _archive(self, airlines: QuerySet[Airline], sums: ArchiveTotals, options: dict[str, Any]) -> RequestCounts:
        status, sent = status_bucket(), RequestCounts()
        for airline in airlines:
            meter = RequestMeter(status)
            try:
                due = archive_due(airline, status, deletion_time(status), _days(airline, options["older_than"]))
                self._follow(((airline, outcome) for outcome in due), sums, options)
            finally:
                sent += meter.read()
                usage.record(airline.pk, meter.read())
        return sent

    def _follow(
        self, outcomes: Iterable[tuple[Airline, ArchiveOutcome]], sums: ArchiveTotals, options: dict[str, Any]
    ) -> None:
        for airline, outcome in outcomes:
            sums.add(outcome)
            if options["json"]:
                continue
            name = f"{airline.name} {outcome.tail} {outcome.campaign}"
            what = f"skipped: {outcome.left_alone}" if outcome.left_alone else f"{outcome.objects:,} objects"
            self.stdout.write(f"{name}: {what}")

    def _tell(self, sums: ArchiveTotals, sent: RequestCounts, options: dict[str, Any]) -> None:
        counts = {name: getattr(sent, name) for name in usage.PRICES}
        price = usage.price(counts)
        if options["json"]:
            totals = {"loads": sums.loads, "objects": sums.objects, "bytes": sums.bytes, "left_alone": sums.left_alone}
            self.stdout.write(json.dumps({**totals, **counts, "usd": float(price)}))
            return
        requests = ", ".join(f"{count:,} {name.removesuffix('_requests').upper()}" for name, count in counts.items())
        verb = "would be" if options["dry_run"] else "were"
        self.stdout.write(
            f"{sums.loads:,} loads {verb} archived, {sums.left_alone:,} skipped. {sums.objects:,} objects {verb} "
            f"replaced by {sums.loads:,} with {sums.bytes:,} bytes. {requests}: {price:.4f} USD at list price"
        )


def _planned(airlines: QuerySet[Airline], older_than: int | None) -> Iterator[tuple[Airline, ArchiveOutcome]]:
    now = timezone.now()
    for airline in airlines:
        for outcome in preview(airline, now, _days(airline, older_than)):
            yield airline, outcome


def _days(airline: Airline, older_than: int | None) -> int | None:
    return archive_after_days(airline) if older_than is None else older_than


def days(text: str) -> int:
    """Return a number of days. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and int(text) <= 36_500):
        raise ArgumentTypeError(f"{text!r} must be a whole number of days")
    return int(text)
