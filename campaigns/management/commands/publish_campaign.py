"""`publish_campaign`: publish a folder of `.tgz` files as a campaign in the media bucket."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management.base import CommandError, CommandParser

from campaigns.management.key_options import add_passphrase_option, load_keys
from campaigns.publishing.errors import PublishError
from campaigns.publishing.folder_publisher import UNCHANGED, PublishResult, ReleaseRestrictions, publish_folder
from campaigns.publishing.progress import OnProgress, PlainProgress, TerminalProgress
from campaigns.signing.manifest_signature import SigningError, sign_campaign
from campaigns.signing.manifest_signature import format_summary as signed_in_words
from ifeportal.management.base import BucketCommand, exit_code
from loader.errors import ExitCode, WorldError

HELP: Final = """Hash every .tgz file of a folder, upload those that changed, and write campaign.json last.

Only files directly in the folder are taken; anything else is named and left alone. What the campaign.json in the
bucket says besides (titles, kinds, fields unknown to this version) is kept. Items that are no longer in the folder
leave the campaign; their objects stay in the bucket. Running it again after an interruption sends only what is missing.

Exit: 0 published or nothing to do; 1 not published, run it again; 2 usage, names or access; 75 the bucket could not be
reached, try again later; 130 interrupted. Unless it is 0, the campaign.json that was there before is still in force.
"""


class Command(BucketCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the .tgz files")
        parser.add_argument("--airline", required=True, help="first part of the keys, e.g. ACME")
        parser.add_argument("--campaign", required=True, help="second part of the keys, e.g. 2026-12")
        parser.add_argument("--title", help="what people call the campaign; kept if not given")
        parser.add_argument("--starts", type=day, metavar="DATE", help="first day of the exhibition, as 2026-12-01")
        parser.add_argument("--ends", type=day, metavar="DATE", help="last day of the exhibition")
        parser.add_argument(
            "--expires",
            type=moment,
            metavar="TIME",
            help="from then on aircraft that enforce signatures begin no download of it: 2026-12-31T18:00:00Z, or "
            "2026-12-31 for its end in UTC, or never; kept if not given",
        )
        parser.add_argument(
            "--tail",
            action="append",
            metavar="T",
            help="only for this aircraft; may be given more than once; kept if not given",
        )
        parser.add_argument("--all-tails", action="store_true", help="for every aircraft of the airline again")
        parser.add_argument(
            "--sign-with",
            type=Path,
            action="append",
            default=[],
            metavar="KEY",
            help="sign it with the private key in this PEM file, see sign_campaign; may be given more than once",
        )
        add_passphrase_option(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end, progress to stderr")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = load_keys(options["sign_with"], options["passphrase_file"])
        try:
            with self._display(options["json"]) as display:
                result = self._publish(options, display)
        except KeyboardInterrupt:
            raise CommandError("interrupted; the campaign in the bucket is unchanged", returncode=130) from None
        except PublishError as exc:
            code = ExitCode.SOME_FAILED if exc.retryable else ExitCode.USAGE
            raise CommandError(f"not published:\n{exc}", returncode=code) from exc
        except WorldError as exc:
            # Without the table's advice: it is for aircraft.
            raise CommandError(f"not published: {exc.code}: {exc}", returncode=exit_code(exc)) from exc
        self.stdout.write(json.dumps(as_json(result)) if options["json"] else in_words(result))
        if keys:
            self._sign(result, keys, options["json"])

    def _publish(self, options: dict[str, Any], display: OnProgress) -> PublishResult:
        return publish_folder(
            options["folder"],
            options["airline"],
            options["campaign"],
            self.media_bucket(),
            title=options["title"],
            starts=options["starts"],
            ends=options["ends"],
            restrictions=terms_of(options),
            on_progress=display,
        )

    def _sign(self, result: PublishResult, keys: Sequence[Ed25519PrivateKey], as_json: bool) -> None:
        """Just the campaign.json that was published, not what may lie there by now."""
        try:
            signed = sign_campaign(
                result.airline, result.campaign, self.media_bucket(), keys, now=datetime.now(UTC), sha256=result.sha256
            )
        except SigningError as exc:
            raise CommandError(f"published, but not signed: {exc}", returncode=ExitCode.SOME_FAILED) from exc
        except WorldError as exc:
            raise CommandError(f"published, but not signed: {exc.code}: {exc}", returncode=exit_code(exc)) from exc
        (self.stderr if as_json else self.stdout).write(signed_in_words(signed))

    def _display(self, as_json: bool) -> AbstractContextManager[OnProgress]:
        stream = self.stderr if as_json else self.stdout
        if stream.isatty():  # rich writes without line ends, which Django's wrapper would add
            return TerminalProgress(sys.stderr if as_json else sys.stdout)
        return PlainProgress(lambda line: stream.write(line, style_func=str))


def terms_of(options: dict[str, Any]) -> ReleaseRestrictions:
    """For whom and until when, as the options say."""
    if options["all_tails"] and options["tail"]:
        raise CommandError("--tail and --all-tails exclude each other", returncode=ExitCode.USAGE)
    tails = tuple(dict.fromkeys(options["tail"])) if options["tail"] else None
    return ReleaseRestrictions(
        UNCHANGED if options["expires"] is None else options["expires"].at,
        tails if tails or options["all_tails"] else UNCHANGED,
        datetime.now(UTC) if options["sign_with"] else None,
    )


@dataclass(frozen=True, slots=True)
class Expiry:
    """What `--expires` says; `at` is None for never."""

    at: datetime | None


def moment(text: str) -> Expiry:
    """A time with its offset, a day (its end, in UTC), or `never`."""
    if text == "never":
        return Expiry(None)
    try:
        if "T" not in text:
            return Expiry(datetime.combine(date.fromisoformat(text) + timedelta(days=1), time.min, UTC))
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as exc:
        raise ArgumentTypeError(f"{text!r} is not a time as 2026-12-31T18:00:00Z, nor a day, nor never") from exc
    if found.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} has no offset; add Z for UTC")
    return Expiry(found.astimezone(UTC))


def day(text: str) -> date:
    """A date as 2026-12-31."""
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is not a date as 2026-12-31") from exc


def as_json(result: PublishResult) -> dict[str, object]:
    """The result as `--json` prints it; sizes in bytes."""
    return {**asdict(result), "bytes_total": result.bytes_total, "bytes_uploaded": result.bytes_uploaded}


def in_words(result: PublishResult) -> str:
    """The result in one line."""
    sent = sum(item.outcome == "uploaded" for item in result.items)
    what = f"{result.airline}/{result.campaign} version {result.version}"
    counts = f"{len(result.items)} items, {result.bytes_total:,} bytes; sent {sent} ({result.bytes_uploaded:,} bytes)"
    return f"published {what}: {counts}" if result.changed else f"{what} is as it should be: {counts}"
