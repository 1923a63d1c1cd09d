"""Options for private keys and their passphrases, shared by the commands that sign."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management.base import CommandError, CommandParser

from campaigns.signing.private_keys import BadKeyError, load_key, read_passphrase
from loader.errors import ExitCode


def add_signing_key_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--key",
        required=True,
        type=Path,
        action="append",
        metavar="FILE",
        help="PEM file (mode 0600) with a private key; repeatable",
    )
    add_passphrase_option(parser)


def add_passphrase_option(parser: CommandParser) -> None:
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="file (mode 0600) with the passphrase of encrypted keys on its first line; default: ask on the terminal",
    )


def load_keys(paths: Sequence[Path], passphrase_file: Path | None) -> list[Ed25519PrivateKey]:
    """Load private keys, each file once. Raises CommandError."""
    try:
        return [load_key(path, partial(_passphrase, path, passphrase_file)) for path in dict.fromkeys(paths)]
    except BadKeyError as error:
        raise CommandError(f"{error}.", returncode=ExitCode.USAGE) from error


def _passphrase(path: Path, file: Path | None) -> bytes:
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise BadKeyError(f"{path.name} is encrypted: use --passphrase-file, or run the command on a terminal")
    return getpass.getpass(f"Passphrase for {path.name}: ").encode()
