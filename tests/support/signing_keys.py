"""Keys that are the same in every run, and envelopes and trusted keys made with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loader.signatures.dsse import CAMPAIGN_TYPE, Envelope, build_envelope, key_id, sign_envelope
from loader.signatures.trusted_keys import TRUST_TYPE, SigningRole, TrustedKeys, TrustedKeysVersion, build_trusted_keys


def private_key(name: str) -> Ed25519PrivateKey:
    """Return the private key of a person."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public_hex(name: str) -> str:
    """Return the public key of a person, in hex."""
    return private_key(name).public_key().public_bytes_raw().hex()


def envelope(payload: bytes, *names: str, kind: str = CAMPAIGN_TYPE) -> Envelope:
    """Return an envelope signed by these people."""
    made = Envelope(payload, kind)
    for name in names:
        made = sign_envelope(made, private_key(name))
    return made


def signed_envelope(payload: bytes, *names: str) -> bytes:
    """Return the body of a campaign.json.dsse."""
    return build_envelope(envelope(payload, *names))


def role(*names: str, threshold: int = 1) -> SigningRole:
    return SigningRole(tuple(key_id(public_hex(name)) for name in names), threshold)


def keyring(
    version: int = 1, *, root: SigningRole | None = None, people: Sequence[str] = ("rita",), **airlines: SigningRole
) -> TrustedKeys:
    """Return trusted keys, by default with Rita's root role. `people`: keys to list besides Rita's and Sam's."""
    names = dict.fromkeys(["rita", "sam", *people])
    roles = airlines or {"ACME": role("sam")}
    return TrustedKeys(
        version, {key_id(public_hex(name)): public_hex(name) for name in names}, root or role("rita"), roles
    )


def signed_version(ring: TrustedKeys, *names: str) -> TrustedKeysVersion:
    """Return a version of trusted keys signed by these people."""
    return TrustedKeysVersion(ring, envelope(build_trusted_keys(ring), *names, kind=TRUST_TYPE))
