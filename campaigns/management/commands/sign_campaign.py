"""`sign_campaign`: sign the `campaign.json` of a campaign in the media bucket."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from campaigns.management.key_options import add_passphrase_option, load_keys
from campaigns.signing.manifest_signature import SigningError, count_missing_signatures, format_summary, sign_campaign
from campaigns.signing.trust_file import TrustFileError, load_chain
from ifeportal.management.base import BucketCommand, exit_code
from loader.errors import ContractError, ExitCode, WorldError

HELP: Final = """Sign the campaign.json of a campaign as it lies in the media bucket, and write campaign.json.dsse.

Where several must sign, each runs this with a key of their own: signatures of the same bytes are kept, those of an
older campaign.json are replaced. What an aircraft would refuse is not signed. Compare the SHA-256 it tells with what
was published, or give it with --sha256: whoever can write the bucket can also put a campaign.json there.

Exit: 0 signed; 1 not signed; 2 usage, keys or access; 75 the bucket could not be reached, try again later.
"""


class Command(BucketCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--airline", required=True, help="first part of the keys, e.g. ACME")
        parser.add_argument("--campaign", required=True, help="second part of the keys, e.g. 2026-12")
        parser.add_argument(
            "--key",
            required=True,
            type=Path,
            action="append",
            metavar="FILE",
            help="PEM file (mode 0600) of a private key; may be given more than once",
        )
        add_passphrase_option(parser)
        parser.add_argument("--sha256", metavar="HEX", help="sign only if campaign.json has this SHA-256")
        parser.add_argument(
            "--trust", type=Path, metavar="FILE", help="trust.json: tell whether aircraft would take it"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = load_keys(options["key"], options["passphrase_file"])
        try:
            chain = load_chain(options["trust"]) if options["trust"] else None
        except TrustFileError as error:
            raise CommandError(f"{error}.", returncode=ExitCode.USAGE) from error
        where = options["airline"], options["campaign"]
        try:
            media = self.media_bucket()
            result = sign_campaign(
                *where, media, keys, now=datetime.now(UTC), sha256=(options["sha256"] or "").lower() or None
            )
            missing = count_missing_signatures(*where, media, chain[-1].trusted_keys) if chain else None
        except SigningError as error:
            raise CommandError(f"not signed: {error}.", returncode=ExitCode.SOME_FAILED) from error
        except ContractError as error:
            raise CommandError(
                f"signed, but no aircraft takes it: {error}.", returncode=ExitCode.SOME_FAILED
            ) from error
        except WorldError as error:
            raise CommandError(f"not signed: {error.code}: {error}", returncode=exit_code(error)) from error
        told = (
            json.dumps({**asdict(result), "missing": missing}) if options["json"] else format_summary(result, missing)
        )
        self.stdout.write(told)
