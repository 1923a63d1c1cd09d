"""`trust_keys`: create keys, and create, rotate, sign and show `trust.json`, the keys that aircraft trust."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from campaigns.management.key_options import add_passphrase_option, load_keys
from campaigns.signing.private_keys import BadKeyError, load_public, new_key, public_hex, read_passphrase
from campaigns.signing.trust_file import (
    TrustFileError,
    add_signatures,
    describe_missing_signatures,
    first_version,
    load_chain,
    make_role,
    next_version,
    save_chain,
    sign_version,
)
from ifeportal.management.base import FormattedHelpCommand
from loader.errors import ExitCode
from loader.signatures.dsse import key_id
from loader.signatures.trusted_keys import SigningRole, TrustedKeys

HELP: Final = """Manage the keys that sign campaigns, and trust.json, the file that lists the keys aircraft trust.

  trust_keys new KEY                 create a key: KEY (private, mode 0600) and KEY.pub
  trust_keys trust FILE …            create a trust.json with version 1
  trust_keys rotate FILE …           add the next version, with other keys, thresholds or airlines
  trust_keys sign FILE --root KEY    add a root signature to the newest version
  trust_keys show FILE               show every version and its missing signatures

Root keys sign only trust.json: store them offline. Signing keys sign the campaigns of an airline. A new version needs
signatures by the root keys of the previous version and by its own. Copy the file to every aircraft and set
LOADER_TRUSTED_KEYS there.
"""


class Command(FormattedHelpCommand):
    help = HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        new = actions.add_parser("new", help="create a key")
        new.add_argument("key", type=Path, metavar="KEY")
        new.add_argument(
            "--encrypt", action="store_true", help="encrypt it with a passphrase asked for on the terminal"
        )
        add_passphrase_option(new)
        make = actions.add_parser("trust", help="create version 1")
        rotate = actions.add_parser("rotate", help="add the next version")
        sign = actions.add_parser("sign", help="add a signature to the newest version")
        show = actions.add_parser("show", help="show every version")
        for action in (make, rotate, sign, show):
            action.add_argument("file", type=Path, metavar="FILE")
        for action in (make, rotate, sign):
            action.add_argument(
                "--root",
                type=Path,
                action="append",
                required=True,
                metavar="KEY",
                help="private root key to sign with; repeatable",
            )
            add_passphrase_option(action)
        make.add_argument(
            "--also-root", action="append", default=[], metavar="PUB", help="public key of another root; repeatable"
        )
        rotate.add_argument(
            "--new-root",
            action="append",
            default=[],
            metavar="PUB",
            help="public key of a root; repeat for each: they replace all roots",
        )
        rotate.add_argument(
            "--remove-airline",
            action="append",
            default=[],
            metavar="A",
            help="airline whose campaigns can no longer be signed; repeatable",
        )
        for action in (make, rotate):
            action.add_argument("--root-threshold", type=int, metavar="N", help="number of roots that must sign")
            action.add_argument("--airline", metavar="A", help="airline whose campaigns the signers may sign")
            action.add_argument(
                "--signer",
                action="append",
                default=[],
                metavar="PUB",
                help="public key that may sign; repeat for each: they replace all signers",
            )
            action.add_argument(
                "--threshold", type=int, metavar="N", help="number of signers that must sign (default: 1)", default=1
            )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lines = getattr(self, f"_{options['action']}")(options)
        except (BadKeyError, TrustFileError) as error:
            raise CommandError(f"{error}.", returncode=ExitCode.USAGE) from error
        self.stdout.write("\n".join(lines))

    def _new(self, options: dict[str, Any]) -> list[str]:
        key = new_key(options["key"], _new_passphrase(options))
        public = public_hex(key)
        return [
            f"Key ID: {key_id(public)}",
            f"Public key: {public}",
            f"Files: {options['key']} (private), {options['key']}.pub (public)",
        ]

    def _trust(self, options: dict[str, Any]) -> list[str]:
        if options["file"].exists():
            raise CommandError(
                f"{options['file']} already exists. Use trust_keys rotate to change it.", returncode=ExitCode.USAGE
            )
        keys = load_keys(options["root"], options["passphrase_file"])
        roots = [*(public_hex(key) for key in keys), *map(load_public, options["also_root"])]
        airlines, publics = _airlines(options)
        root = make_role(roots, options["root_threshold"] or 1)
        chain = [sign_version(first_version(root, airlines, [*roots, *publics]), keys)]
        save_chain(options["file"], chain)
        return _format_version(chain[-1].trusted_keys, describe_missing_signatures(chain, 0))

    def _rotate(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        current = chain[-1].trusted_keys
        keys = load_keys(options["root"], options["passphrase_file"])
        roots = [load_public(text) for text in options["new_root"]] or current.public_keys(current.root)
        airlines, publics = _airlines(options)
        removed: dict[str, SigningRole | None] = dict.fromkeys(options["remove_airline"])
        root = make_role(roots, options["root_threshold"] or current.root.threshold)
        new = next_version(current, root, {**airlines, **removed}, [*roots, *publics])
        chain.append(sign_version(new, keys))
        save_chain(options["file"], chain)
        return _format_version(new, describe_missing_signatures(chain, len(chain) - 1))

    def _sign(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        chain[-1] = add_signatures(chain[-1], load_keys(options["root"], options["passphrase_file"]))
        save_chain(options["file"], chain)
        return _format_version(chain[-1].trusted_keys, describe_missing_signatures(chain, len(chain) - 1))

    def _show(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        return [
            line
            for index, version in enumerate(chain)
            for line in _format_version(version.trusted_keys, describe_missing_signatures(chain, index))
        ]


def _airlines(options: dict[str, Any]) -> tuple[dict[str, SigningRole], list[str]]:
    publics = [load_public(text) for text in options["signer"]]
    if bool(options["airline"]) != bool(publics):
        raise CommandError("--airline and --signer must be used together.", returncode=ExitCode.USAGE)
    return ({options["airline"]: make_role(publics, options["threshold"])} if publics else {}), publics


def _new_passphrase(options: dict[str, Any]) -> bytes | None:
    if options["passphrase_file"]:
        return read_passphrase(options["passphrase_file"])
    if not options["encrypt"]:
        return None
    if not sys.stdin.isatty():
        raise BadKeyError("--encrypt needs a terminal; use --passphrase-file without one")
    first, second = (
        getpass.getpass(prompt).encode() for prompt in ("Passphrase for the new key: ", "Repeat the passphrase: ")
    )
    if not first or first != second:
        raise BadKeyError("the passphrases differ or are empty")
    return first


def _format_version(trusted_keys: TrustedKeys, missing: list[str]) -> list[str]:
    lines = [f"version {trusted_keys.version}", *_role_lines("root", trusted_keys.root)]
    for airline, role in sorted(trusted_keys.airlines.items()):
        lines += _role_lines(airline, role)
    return [*lines, f"  not valid yet, missing: {', '.join(missing)}" if missing else "  signed"]


def _role_lines(name: str, role: SigningRole) -> list[str]:
    return [f"  {name}: {role.threshold} of {len(role.keys)}", *(f"    {keyid}" for keyid in role.keys)]
