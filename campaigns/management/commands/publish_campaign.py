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
from django.template.defaultfilters import pluralize

from campaigns.management.key_options import add_passphrase_option, load_keys
from campaigns.publishing.errors import PublishError
from campaigns.publishing.folder_publisher import UNCHANGED, PublishResult, ReleaseRestrictions, publish_folder
from campaigns.publishing.progress import OnProgress, PlainProgress, TerminalProgress
from campaigns.signing.envelopes import SigningError
from campaigns.signing.manifest_signature import format_summary as format_signing
from campaigns.signing.manifest_signature import sign_campaign
from ifeportal.management.base import BucketCommand, exit_code
from ifeportal.storage.conditional_writes import OnNotice
from loader.errors import ExitCode, WorldError

HELP: Final = """Publish a folder: hash every .tgz file, upload the changed ones, and write campaign.json last.

Subfolders and other files are skipped with a note. Everything else in the campaign.json of the bucket is preserved:
titles, kinds, fields unknown to this version. Items that are not in the folder are removed from the campaign; their
objects stay in the bucket. If the command is interrupted, run it again: it uploads only what is missing.

Exit codes: 0 published, or nothing to do; 1 not published, run the command again; 2 invalid options or names, or access
denied; 75 bucket unreachable, try again later; 130 interrupted. Unless the code is 0, campaign.json is unchanged.
"""


class Command(BucketCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the .tgz files")
        parser.add_argument("--airline", required=True, help="airline: first segment of the keys, for example ACME")
        parser.add_argument(
            "--campaign", required=True, help="campaign: second segment of the keys, for example 2026-12"
        )
        parser.add_argument("--title", help="title of the campaign; default: unchanged")
        parser.add_argument(
            "--starts",
            type=parse_date,
            metavar="DATE",
            help="first day of the exhibition, for example 2026-12-01; default: unchanged",
        )
        parser.add_argument(
            "--ends", type=parse_date, metavar="DATE", help="last day of the exhibition; default: unchanged"
        )
        parser.add_argument(
            "--expires",
            type=parse_expiry,
            metavar="TIME",
            help="when aircraft that enforce signatures stop downloading it: 2026-12-31T18:00:00Z, 2026-12-31 for the "
            "end of that day in UTC, or never; default: unchanged",
        )
        parser.add_argument(
            "--tail",
            action="append",
            metavar="T",
            help="publish for this aircraft only; repeatable; default: unchanged",
        )
        parser.add_argument(
            "--all-tails",
            action="store_true",
            help="publish for every aircraft of the airline; cancels an earlier --tail",
        )
        parser.add_argument(
            "--sign-with",
            type=Path,
            action="append",
            default=[],
            metavar="KEY",
            help="sign with the private key in this PEM file, see sign_campaign; repeatable",
        )
        add_passphrase_option(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object to stdout, progress to stderr")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = load_keys(options["sign_with"], options["passphrase_file"])
        try:
            with self._display(options["json"]) as display:
                result = self._publish(options, display)
        except KeyboardInterrupt:
            raise CommandError("Interrupted. campaign.json in the bucket is unchanged.", returncode=130) from None
        except PublishError as exc:
            code = ExitCode.SOME_FAILED if exc.retryable else ExitCode.USAGE
            raise CommandError(f"Not published:\n{exc}", returncode=code) from exc
        except WorldError as exc:
            # The advice of the error table is for aircraft, so it is left out.
            raise CommandError(f"Not published: {exc.code}: {exc}", returncode=exit_code(exc)) from exc
        self.stdout.write(json.dumps(as_json(result)) if options["json"] else format_result(result))
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
            restrictions=restrictions_from(options),
            on_progress=display,
        )

    def _sign(self, result: PublishResult, keys: Sequence[Ed25519PrivateKey], as_json: bool) -> None:
        # Pinned by its hash: another publisher may have replaced campaign.json since.
        try:
            signed = sign_campaign(
                result.airline,
                result.campaign,
                self.media_bucket(),
                keys,
                now=datetime.now(UTC),
                sha256=result.sha256,
                notice=self._notice_not_in(result.notices),
            )
        except SigningError as exc:
            raise CommandError(f"Published, but not signed: {exc}.", returncode=ExitCode.SOME_FAILED) from exc
        except WorldError as exc:
            raise CommandError(f"Published, but not signed: {exc.code}: {exc}", returncode=exit_code(exc)) from exc
        (self.stderr if as_json else self.stdout).write(format_signing(signed))

    def _notice_not_in(self, notices: Sequence[str]) -> OnNotice:
        """Return a function that writes a sentence to stderr, unless publishing has shown it already."""

        def notice(text: str) -> None:
            if text not in notices:
                self.stderr.write(text)

        return notice

    def _display(self, as_json: bool) -> AbstractContextManager[OnProgress]:
        stream = self.stderr if as_json else self.stdout
        if stream.isatty():  # not through Django's wrapper, which adds a newline to every write
            return TerminalProgress(sys.stderr if as_json else sys.stdout)
        return PlainProgress(lambda line: stream.write(line, style_func=str))


def restrictions_from(options: dict[str, Any]) -> ReleaseRestrictions:
    if options["all_tails"] and options["tail"]:
        raise CommandError("--tail and --all-tails cannot be combined.", returncode=ExitCode.USAGE)
    tails = tuple(dict.fromkeys(options["tail"])) if options["tail"] else None
    return ReleaseRestrictions(
        UNCHANGED if options["expires"] is None else options["expires"].at,
        tails if tails or options["all_tails"] else UNCHANGED,
        datetime.now(UTC) if options["sign_with"] else None,
    )


@dataclass(frozen=True, slots=True)
class Expiry:
    """Value of `--expires`; `at` is None for never."""

    at: datetime | None


def parse_expiry(text: str) -> Expiry:
    """Parse a time with its offset, a day (its end in UTC), or `never`."""
    if text == "never":
        return Expiry(None)
    try:
        if "T" not in text:
            return Expiry(datetime.combine(date.fromisoformat(text) + timedelta(days=1), time.min, UTC))
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return Expiry(at.astimezone(UTC))  # OverflowError: in UTC the time is out of range
    except (ValueError, OverflowError) as exc:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-12-31T18:00:00Z, a date, or never") from exc
    raise ArgumentTypeError(f"{text!r} has no UTC offset; add Z for UTC")


def parse_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is not a date such as 2026-12-31") from exc


def as_json(result: PublishResult) -> dict[str, object]:
    """Return the object that `--json` prints; sizes in bytes."""
    return {**asdict(result), "bytes_total": result.bytes_total, "bytes_uploaded": result.bytes_uploaded}


def format_result(result: PublishResult) -> str:
    uploaded = sum(item.outcome == "uploaded" for item in result.items)
    release = f"{result.airline}/{result.campaign} version {result.version}"
    total = f"{len(result.items):,} item{pluralize(len(result.items))}, {result.bytes_total:,} bytes"
    counts = f"{total}; {uploaded:,} uploaded, {result.bytes_uploaded:,} bytes"
    return f"Published {release}: {counts}" if result.changed else f"{release} is up to date: {counts}"
