"""`check_store`: try out what the portal needs of its two buckets."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ifeportal.management.base import FormattedHelpCommand
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.errors import ExitCode
from loader.s3.auth.redaction import redact
from loader.s3.check.findings import StoreReport
from loader.s3.check.plan import BucketPlan, Budget
from loader.s3.check.runner import check_store

HELP: Final = """Test what the portal needs of its buckets. Print a line for each function: it works, or it is missing.

It lists and reads both buckets. In the media bucket it also writes, replaces and deletes small test objects below
.check/, if the credentials allow it. They are deleted, also if the command is interrupted. It takes seconds,
or up to two minutes with a very slow store, and needs no database.

Exit codes: 0 everything that is needed works; 1 something is missing; 2 invalid settings; 75 interrupted, or out of
time: everything tested until then works.
"""
# Segments that begin with a dot are ignored by loaders and portal.
PLANS: Final = BucketPlan("media", "", scratch=".check/", multipart=True), BucketPlan("status", "")


class Command(FormattedHelpCommand):
    help = HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        try:
            buckets = media_bucket(), status_bucket()
        except ValueError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        stop_on_signal(stop)
        report = check_store("portal", list(zip(buckets, PLANS, strict=True)), Budget(stop))
        lines = [json.dumps(report.as_json())] if options["json"] else report.lines()
        for line in lines:
            self.stdout.write(redact(line))
        sys.exit(exit_code(report))


def exit_code(report: StoreReport) -> ExitCode:
    """Return the exit code of a report."""
    if report.missing:
        return ExitCode.SOME_FAILED
    return ExitCode.DONE if report.is_complete else ExitCode.UNREACHABLE
