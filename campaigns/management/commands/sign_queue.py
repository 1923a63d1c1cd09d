"""`sign_queue`: sign the transfer queue of a tail in the media bucket."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from campaigns.management.key_options import add_signing_key_options, load_keys
from campaigns.signing.envelopes import SigningError
from campaigns.signing.queue_signature import format_queue_summary, sign_queue
from ifeportal.management.base import BucketCommand, exit_code
from loader.errors import ExitCode, WorldError

HELP: Final = """Sign the transfer queue of a tail in the media bucket, and write it beside the queue as .json.dsse.

A loader with LOADER_SIGNATURES=enforce obeys a removal and a pause only from a signed queue. Sign with a key that signs
the airline's campaigns. If several people must sign, each runs this command with their own key. A queue that the
aircraft would refuse is not signed.

Exit codes: 0 signed; 1 not signed; 2 invalid options or keys, or access denied; 75 bucket unreachable, try again later.
"""


class Command(BucketCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", required=True, help="airline: first segment of the keys, for example ACME")
        parser.add_argument("--tail", required=True, help="tail, for example D-ABCD")
        add_signing_key_options(parser)
        parser.add_argument("--sha256", metavar="HEX", help="sign only if the queue has this SHA-256")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = load_keys(options["key"], options["passphrase_file"])
        digest = (options["sha256"] or "").lower() or None
        try:
            result = sign_queue(
                options["airline"],
                options["tail"],
                self.media_bucket(),
                keys,
                sha256=digest,
                notice=self.stderr.write,
            )
        except SigningError as error:
            raise CommandError(f"Not signed: {error}.", returncode=ExitCode.SOME_FAILED) from error
        except WorldError as error:
            raise CommandError(f"Not signed: {error.code}: {error}", returncode=exit_code(error)) from error
        self.stdout.write(json.dumps(asdict(result)) if options["json"] else format_queue_summary(result))
