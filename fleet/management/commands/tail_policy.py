"""`tail_policy`: print the least permissions that the keys of one aircraft need."""

from __future__ import annotations

import json
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.iam_policy import iam_policy, seaweedfs_identity
from loader.errors import BadName

HELP: Final = (
    "Print the least permissions that an aircraft needs in MEDIA_BUCKET and STATUS_BUCKET: an IAM policy, or an "
    "identity for SeaweedFS's s3.json, to which you add its keys. Give every aircraft its own keys. The command makes "
    "no connection."
)


class Command(BaseCommand):
    help = HELP
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", required=True, metavar="A", help="the airline of the aircraft")
        parser.add_argument("--tail", required=True, metavar="T", help="the registration of the aircraft")
        parser.add_argument(
            "--format", choices=["iam", "seaweedfs"], default="iam", help="the format of the output (default: iam)"
        )

    def handle(self, *args: Any, **options: Any) -> str:
        scope = options["airline"], options["tail"], settings.MEDIA_BUCKET, settings.STATUS_BUCKET
        try:
            if options["format"] == "iam":
                return json.dumps(iam_policy(*scope), indent=2, ensure_ascii=False)
            identity = seaweedfs_identity(*scope)
        except BadName as error:
            raise CommandError(f"No policy can be written: {error}.", returncode=2) from error
        document = {"name": identity.name, "credentials": [], "actions": identity.actions}
        return json.dumps(document, indent=2, ensure_ascii=False)
