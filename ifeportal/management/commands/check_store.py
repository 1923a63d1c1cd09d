"""`check_store`: try out what the portal needs of its two buckets."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from ifeportal.management.base import FormattedHelpCommand
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.errors import ExitCode, WorldError
from loader.s3.auth.redaction import redact
from loader.s3.check.findings import StoreReport
from loader.s3.check.plan import BucketPlan, Budget
from loader.s3.check.runner import check_store
from loader.s3.client import S3Bucket
from loader.s3.cors import aws_command, permits_uploads, upload_rule
from loader.s3.interface import CorsRule

HELP: Final = """Test what the portal needs of its buckets. Print a line for each function: it works, or it is missing.

It lists and reads both buckets. In the media bucket it also writes, replaces and deletes small test objects below
.check/, if the credentials allow it. They are deleted, also if the command is interrupted. It takes seconds,
or up to two minutes with a very slow store, and needs no database.

Browsers upload to the media bucket from pages of PORTAL_URL, which the bucket must permit by a CORS rule. With
--fix-cors the command adds that rule first.

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
        parser.add_argument(
            "--fix-cors",
            action="store_true",
            help="add the CORS rule of the media bucket for uploads, if it is missing",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        try:
            buckets = media_bucket(), status_bucket()
        except ValueError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        stop_on_signal(stop)
        if options["fix_cors"] and allow_uploads(buckets[0], settings.PORTAL_URL):
            self.stderr.write(f"Added a CORS rule to {buckets[0].name}: pages of {settings.PORTAL_URL} may upload.")
        plans = (replace(PLANS[0], origin=settings.PORTAL_URL), PLANS[1])
        report = check_store("portal", list(zip(buckets, plans, strict=True)), Budget(stop))
        lines = [json.dumps(report.as_json())] if options["json"] else report.lines()
        for line in lines:
            self.stdout.write(redact(line))
        sys.exit(exit_code(report))


def allow_uploads(bucket: S3Bucket, origin: str) -> bool:
    """Add the CORS rule for uploads from this origin. Return False if it was there. Raises CommandError."""
    rules: list[CorsRule] = []
    try:
        rules = bucket.get_cors()
        if permits_uploads(rules, origin):
            return False
        rules = [upload_rule([origin]), *rules]
        bucket.put_cors(rules)
    except WorldError as error:
        command = aws_command(bucket.name, bucket.endpoint, rules or [upload_rule([origin])])
        text = f"The CORS rule was not added. {error}.\nAsk an administrator of the store to run:\n{command}"
        raise CommandError(redact(text), returncode=ExitCode.SOME_FAILED) from error
    return True


def exit_code(report: StoreReport) -> ExitCode:
    """Return the exit code of a report."""
    if report.missing:
        return ExitCode.SOME_FAILED
    return ExitCode.DONE if report.is_complete else ExitCode.UNREACHABLE
