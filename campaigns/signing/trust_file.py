"""Makes and renews `trust.json`, the file that tells aircraft whose signatures count. Touches that one file.

The file holds every version, oldest first, so that an aircraft that missed some can follow. It is checked with the
aircraft's own rules (`loader.signatures.trusted_keys`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
    """A `trust.json` cannot be read, written or made; `str()` is a sentence."""


def load_chain(path: Path) -> list[TrustedKeysVersion]:
    """The versions in a file, oldest first, not yet proven. Raises TrustFileError."""
    try:
        with path.open("rb") as stream:
            return parse_chain(stream.read(FILE_LIMIT + 1))
    except OSError as error:
        raise TrustFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except ContractError as error:
        raise TrustFileError(f"{path.name} is refused: {error}") from error


def save_chain(path: Path, chain: Sequence[TrustedKeysVersion]) -> None:
    """Write the file in one step. Raises TrustFileError."""
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
    """Version 1."""
    return _with_used_keys(TrustedKeys(1, {}, root, dict(airlines)), publics)


def next_version(
    current: TrustedKeys, root: SigningRole | None, airlines: Mapping[str, SigningRole | None], publics: Sequence[str]
) -> TrustedKeys:
    """The version after this one: another root if given, other roles of airlines (None: the airline goes)."""
    roles = {**current.airlines, **airlines}
    kept = {name: role for name, role in roles.items() if role is not None}
    new = replace(current, version=current.version + 1, root=root or current.root, airlines=kept)
    return _with_used_keys(new, [*current.keys.values(), *publics])


def _with_used_keys(keyring: TrustedKeys, publics: Sequence[str]) -> TrustedKeys:
    """With those of the keys that some role has."""
    used = {keyid for role in (keyring.root, *keyring.airlines.values()) for keyid in role.keys}
    return replace(keyring, keys={key_id(public): public for public in publics if key_id(public) in used})


def make_role(publics: Sequence[str], threshold: int) -> SigningRole:
    """These keys, so many of which must sign."""
    return SigningRole(tuple(dict.fromkeys(key_id(public) for public in publics)), threshold)


def sign_version(trusted_keys: TrustedKeys, keys: Sequence[Ed25519PrivateKey]) -> TrustedKeysVersion:
    """The keyring in an envelope with the signatures of these keys. Raises TrustFileError if it breaks the rules."""
    try:
        version = TrustedKeysVersion(trusted_keys, Envelope(build_trusted_keys(trusted_keys), TRUST_TYPE))
    except BadEnvelope as error:
        raise TrustFileError(f"aircraft would refuse this: {error}") from error
    return add_signatures(version, keys)


def add_signatures(version: TrustedKeysVersion, keys: Sequence[Ed25519PrivateKey]) -> TrustedKeysVersion:
    """The same with these signatures, too."""
    envelope = version.envelope
    for key in keys:
        envelope = sign_envelope(envelope, key)
    return replace(version, envelope=envelope)


def describe_missing_signatures(chain: Sequence[TrustedKeysVersion], at: int) -> list[str]:
    """What the version at this place of the chain still needs, in words; nothing if an aircraft would take it."""
    version = chain[at]
    asked = {f"the root of version {version.trusted_keys.version}": version.trusted_keys}
    if at:
        asked[f"the root of version {chain[at - 1].trusted_keys.version}"] = chain[at - 1].trusted_keys
    lacking = {
        name: keyring.root.threshold - len(verified_signers(version.envelope, keyring.public_keys(keyring.root)))
        for name, keyring in asked.items()
    }
    return [f"{count} more of {name}" for name, count in lacking.items() if count > 0]
