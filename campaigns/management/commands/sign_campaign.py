"""`sign_campaign`: sign the `campaign.json` of a campaign in the media bucket."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from campaigns.management.key_options import add_signing_key_options, load_keys
from campaigns.signing.envelopes import SigningError
from campaigns.signing.manifest_signature import count_missing_signatures, format_summary, sign_campaign
from campaigns.signing.trust_file import TrustFileError, load_chain
from ifeportal.management.base import BucketCommand, exit_code
from loader.errors import ContractError, ExitCode, WorldError

HELP: Final = """Sign the campaign.json of a campaign in the media bucket, and write campaign.json.dsse.

If several people must sign, each runs this command with their own key. Signatures of the same campaign.json are
preserved, signatures of an older one are replaced. A campaign.json that aircraft would refuse is not signed.

Anyone who can write to the bucket can replace campaign.json. Compare the SHA-256 that this command prints with the
one that was published, or pass that one with --sha256.

Exit codes: 0 signed; 1 not signed; 2 invalid options or keys, or access denied; 75 bucket unreachable, try again later.
"""


class Command(BucketCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", required=True, help="airline: first segment of the keys, for example ACME")
        parser.add_argument(
            "--campaign", required=True, help="campaign: second segment of the keys, for example 2026-12"
        )
        add_signing_key_options(parser)
        parser.add_argument("--sha256", metavar="HEX", help="sign only if campaign.json has this SHA-256")
        parser.add_argument(
            "--trust",
            type=Path,
            metavar="FILE",
            help="trust.json: report whether aircraft with these trusted keys accept the campaign",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = load_keys(options["key"], options["passphrase_file"])
        try:
            chain = load_chain(options["trust"]) if options["trust"] else None
        except TrustFileError as error:
            raise CommandError(f"{error}.", returncode=ExitCode.USAGE) from error
        names = options["airline"], options["campaign"]
        try:
            media = self.media_bucket()
            result = sign_campaign(
                *names,
                media,
                keys,
                now=datetime.now(UTC),
                sha256=(options["sha256"] or "").lower() or None,
                notice=self.stderr.write,
            )
            missing = count_missing_signatures(*names, media, chain[-1].trusted_keys) if chain else None
        except SigningError as error:
            raise CommandError(f"Not signed: {error}.", returncode=ExitCode.SOME_FAILED) from error
        except ContractError as error:
            raise CommandError(
                f"Signed, but aircraft would refuse it: {error}.", returncode=ExitCode.SOME_FAILED
            ) from error
        except WorldError as error:
            raise CommandError(f"Not signed: {error.code}: {error}", returncode=exit_code(error)) from error
        as_json = {**asdict(result), "missing": missing}
        self.stdout.write(json.dumps(as_json) if options["json"] else format_summary(result, missing))
