"""Creates and rotates `trust.json`, the file that lists the keys aircraft trust. Touches that file only.

The file has every version, oldest first, so that an aircraft that missed some can verify the newest. Versions are
checked with the rules of the aircraft (`loader.signatures.trusted_keys`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.template.defaultfilters import pluralize

from loader.errors import ContractError
from loader.signatures.dsse import BadEnvelope, Envelope, key_id, sign_envelope, verified_signers
from loader.signatures.trusted_keys import (
    FILE_LIMIT,
    TRUST_TYPE,
    SigningRole,
    TrustedKeys,
    TrustedKeysVersion,
    build_chain,
    build_trusted_keys,
    parse_chain,
)


class TrustFileError(ValueError):
    """A `trust.json` cannot be read or written, or aircraft would refuse it; `str()` is a sentence without its dot."""


def load_chain(path: Path) -> list[TrustedKeysVersion]:
    """Return the versions in a file, oldest first, without verifying their signatures. Raises TrustFileError."""
    try:
        with path.open("rb") as stream:
            return parse_chain(stream.read(FILE_LIMIT + 1))
    except OSError as error:
        raise TrustFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except ContractError as error:
        raise TrustFileError(f"{path.name} is invalid: {error}") from error


def save_chain(path: Path, chain: Sequence[TrustedKeysVersion]) -> None:
    """Replace the file atomically. Raises TrustFileError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(build_chain(chain))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrustFileError(f"{path.name} cannot be written: {error.strerror}") from error


def first_version(root: SigningRole, airlines: Mapping[str, SigningRole], publics: Sequence[str]) -> TrustedKeys:
    return _with_used_keys(TrustedKeys(1, {}, root, dict(airlines)), publics)


def next_version(
    current: TrustedKeys, root: SigningRole | None, airlines: Mapping[str, SigningRole | None], publics: Sequence[str]
) -> TrustedKeys:
    """Return the next version: with `root` if given, and with these roles of airlines (None removes the airline)."""
    roles = {**current.airlines, **airlines}
    remaining = {name: role for name, role in roles.items() if role is not None}
    new = replace(current, version=current.version + 1, root=root or current.root, airlines=remaining)
    return _with_used_keys(new, [*current.keys.values(), *publics])


def _with_used_keys(trusted_keys: TrustedKeys, publics: Sequence[str]) -> TrustedKeys:
    """Return `trusted_keys` with those of the public keys that a role uses."""
    used = {keyid for role in (trusted_keys.root, *trusted_keys.airlines.values()) for keyid in role.keys}
    return replace(trusted_keys, keys={key_id(public): public for public in publics if key_id(public) in used})


def make_role(publics: Sequence[str], threshold: int) -> SigningRole:
    """Return a role of these keys, `threshold` of which must sign."""
    return SigningRole(tuple(dict.fromkeys(key_id(public) for public in publics)), threshold)


def sign_version(trusted_keys: TrustedKeys, keys: Sequence[Ed25519PrivateKey]) -> TrustedKeysVersion:
    """Return a signed version. Raises TrustFileError if it breaks the rules of aircraft."""
    try:
        version = TrustedKeysVersion(trusted_keys, Envelope(build_trusted_keys(trusted_keys), TRUST_TYPE))
    except BadEnvelope as error:
        raise TrustFileError(f"aircraft would refuse this: {error}") from error
    return add_signatures(version, keys)


def add_signatures(version: TrustedKeysVersion, keys: Sequence[Ed25519PrivateKey]) -> TrustedKeysVersion:
    envelope = version.envelope
    for key in keys:
        envelope = sign_envelope(envelope, key)
    return replace(version, envelope=envelope)


def describe_missing_signatures(chain: Sequence[TrustedKeysVersion], index: int) -> list[str]:
    """Return phrases for the signatures that a version still needs; none if aircraft accept it."""
    version = chain[index]
    signers = {version.trusted_keys.version: version.trusted_keys}
    if index:
        signers[chain[index - 1].trusted_keys.version] = chain[index - 1].trusted_keys
    lacking = {
        number: keys.root.threshold - len(verified_signers(version.envelope, keys.public_keys(keys.root)))
        for number, keys in signers.items()
    }
    return [
        f"{count} signature{pluralize(count)} by the root keys of version {number}"
        for number, count in lacking.items()
        if count > 0
    ]
