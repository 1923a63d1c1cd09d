"""`tail_policy`: print the least permissions that the keys of one aircraft need."""

from __future__ import annotations

import json
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.iam_policy import iam_policy, seaweedfs_identity
from loader.errors import BadName

HELP: Final = (
    "Print the least rights an aircraft needs in the media and the status bucket (MEDIA_BUCKET, STATUS_BUCKET): an IAM "
    "policy, or an identity for SeaweedFS's s3.json, to which its keys are to be added. Every aircraft has keys of its "
    "own. Nothing is connected to."
)


class Command(BaseCommand):
    help = HELP
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", required=True, metavar="A", help="the airline it flies for")
        parser.add_argument("--tail", required=True, metavar="T", help="its registration")
        parser.add_argument(
            "--format", choices=["iam", "seaweedfs"], default="iam", help="whose language (default: iam)"
        )

    def handle(self, *args: Any, **options: Any) -> str:
        whose = options["airline"], options["tail"], settings.MEDIA_BUCKET, settings.STATUS_BUCKET
        try:
            if options["format"] == "iam":
                return json.dumps(iam_policy(*whose), indent=2, ensure_ascii=False)
            identity = seaweedfs_identity(*whose)
        except BadName as error:
            raise CommandError(f"No rights can be given: {error}.", returncode=2) from error
        told = {"name": identity.name, "credentials": [], "actions": identity.actions}
        return json.dumps(told, indent=2, ensure_ascii=False)
