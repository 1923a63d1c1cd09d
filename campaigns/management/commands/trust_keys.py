"""`trust_keys`: create keys, and create, renew, sign and show `trust.json`, the keys that aircraft trust."""

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

HELP: Final = """Keys that sign campaigns, and the file that tells aircraft which of them count.

  trust_keys new KEY                 make a key: KEY (private, mode 0600) and KEY.pub
  trust_keys trust FILE …            make version 1 of a trust.json
  trust_keys rotate FILE …           add the next version: other keys, thresholds or airlines
  trust_keys sign FILE --root KEY    add a signature to its newest version, where several must sign
  trust_keys show FILE               what it says, and what signatures are missing

Root keys sign trust.json and nothing else: keep them off line. Signing keys sign campaigns of an airline. A new version
needs the root signatures of the version before and its own. Aircraft get the file by hand (LOADER_TRUSTED_KEYS).
"""


class Command(FormattedHelpCommand):
    help = HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        new = actions.add_parser("new", help="make a key")
        new.add_argument("key", type=Path, metavar="KEY")
        new.add_argument("--encrypt", action="store_true", help="ask for a passphrase on the terminal")
        add_passphrase_option(new)
        make = actions.add_parser("trust", help="make version 1")
        rotate = actions.add_parser("rotate", help="add the next version")
        sign = actions.add_parser("sign", help="sign the newest version")
        show = actions.add_parser("show", help="what it says")
        for action in (make, rotate, sign, show):
            action.add_argument("file", type=Path, metavar="FILE")
        for action in (make, rotate, sign):
            action.add_argument(
                "--root", type=Path, action="append", required=True, metavar="KEY", help="private key that signs"
            )
            add_passphrase_option(action)
        make.add_argument("--also-root", action="append", default=[], metavar="PUB", help="public key of another root")
        rotate.add_argument(
            "--new-root", action="append", default=[], metavar="PUB", help="public keys of all roots from now on"
        )
        rotate.add_argument(
            "--remove-airline", action="append", default=[], metavar="A", help="whose campaigns nobody may sign"
        )
        for action in (make, rotate):
            action.add_argument("--root-threshold", type=int, metavar="N", help="how many roots must sign")
            action.add_argument("--airline", metavar="A", help="whose campaigns the signers may sign")
            action.add_argument(
                "--signer", action="append", default=[], metavar="PUB", help="all public keys that may sign"
            )
            action.add_argument("--threshold", type=int, metavar="N", help="how many of them must sign", default=1)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            told = getattr(self, f"_{options['action']}")(options)
        except (BadKeyError, TrustFileError) as error:
            raise CommandError(f"{error}.", returncode=ExitCode.USAGE) from error
        self.stdout.write("\n".join(told))

    def _new(self, options: dict[str, Any]) -> list[str]:
        key = new_key(options["key"], _new_passphrase(options))
        public = public_hex(key)
        return [
            f"key id {key_id(public)}",
            f"public key {public}",
            f"in {options['key']}.pub, private in {options['key']}",
        ]

    def _trust(self, options: dict[str, Any]) -> list[str]:
        if options["file"].exists():
            raise CommandError(f"{options['file']} is there already: rotate it.", returncode=ExitCode.USAGE)
        keys = load_keys(options["root"], options["passphrase_file"])
        roots = [*(public_hex(key) for key in keys), *map(load_public, options["also_root"])]
        airlines, publics = _airlines(options)
        root = make_role(roots, options["root_threshold"] or 1)
        chain = [sign_version(first_version(root, airlines, [*roots, *publics]), keys)]
        save_chain(options["file"], chain)
        return _shown(chain[-1].trusted_keys, describe_missing_signatures(chain, 0))

    def _rotate(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        before = chain[-1].trusted_keys
        keys = load_keys(options["root"], options["passphrase_file"])
        roots = [load_public(one) for one in options["new_root"]] or before.public_keys(before.root)
        airlines, publics = _airlines(options)
        gone: dict[str, SigningRole | None] = dict.fromkeys(options["remove_airline"])
        root = make_role(roots, options["root_threshold"] or before.root.threshold)
        new = next_version(before, root, {**airlines, **gone}, [*roots, *publics])
        chain.append(sign_version(new, keys))
        save_chain(options["file"], chain)
        return _shown(new, describe_missing_signatures(chain, len(chain) - 1))

    def _sign(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        chain[-1] = add_signatures(chain[-1], load_keys(options["root"], options["passphrase_file"]))
        save_chain(options["file"], chain)
        return _shown(chain[-1].trusted_keys, describe_missing_signatures(chain, len(chain) - 1))

    def _show(self, options: dict[str, Any]) -> list[str]:
        chain = load_chain(options["file"])
        return [
            line
            for at, one in enumerate(chain)
            for line in _shown(one.trusted_keys, describe_missing_signatures(chain, at))
        ]


def _airlines(options: dict[str, Any]) -> tuple[dict[str, SigningRole], list[str]]:
    publics = [load_public(one) for one in options["signer"]]
    if bool(options["airline"]) != bool(publics):
        raise CommandError("--airline and --signer go together.", returncode=ExitCode.USAGE)
    return ({options["airline"]: make_role(publics, options["threshold"])} if publics else {}), publics


def _new_passphrase(options: dict[str, Any]) -> bytes | None:
    if options["passphrase_file"]:
        return read_passphrase(options["passphrase_file"])
    if not options["encrypt"]:
        return None
    if not sys.stdin.isatty():
        raise BadKeyError("--encrypt asks on a terminal; elsewhere give --passphrase-file")
    first, again = (
        getpass.getpass(f"{word} of the new key: ").encode() for word in ("Passphrase", "Again, passphrase")
    )
    if not first or first != again:
        raise BadKeyError("the two passphrases differ, or are empty")
    return first


def _shown(keyring: TrustedKeys, missing: list[str]) -> list[str]:
    lines = [f"version {keyring.version}", *_role_lines("root", keyring.root)]
    for airline, one in sorted(keyring.airlines.items()):
        lines += _role_lines(airline, one)
    return [*lines, f"  not in force: it needs signatures, {', '.join(missing)}" if missing else "  signed"]


def _role_lines(name: str, one: SigningRole) -> list[str]:
    return [f"  {name}: {one.threshold} of {len(one.keys)}", *(f"    {keyid}" for keyid in one.keys)]
