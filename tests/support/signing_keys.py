"""Keys that are the same in every run, and envelopes and trusted keys made with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loader.signatures.dsse import CAMPAIGN_TYPE, Envelope, build_envelope, key_id, sign_envelope
from loader.signatures.trusted_keys import TRUST_TYPE, Keyring, Provisioned, Role, build_keyring


def private(name: str) -> Ed25519PrivateKey:
    """The key of a person."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> str:
    """Its public half."""
    return private(name).public_key().public_bytes_raw().hex()


def envelope(payload: bytes, *names: str, kind: str = CAMPAIGN_TYPE) -> Envelope:
    """Signed by these people."""
    made = Envelope(payload, kind)
    for name in names:
        made = sign_envelope(made, private(name))
    return made


def dsse(payload: bytes, *names: str) -> bytes:
    """The body of a campaign.json.dsse."""
    return build_envelope(envelope(payload, *names))


def role(*names: str, threshold: int = 1) -> Role:
    return Role(tuple(key_id(public(name)) for name in names), threshold)


def keyring(
    version: int = 1, *, root: Role | None = None, people: Sequence[str] = ("rita",), **airlines: Role
) -> Keyring:
    """With the root of Rita unless told otherwise. `people`: whose keys it lists besides those of Rita and Sam."""
    names = dict.fromkeys(["rita", "sam", *people])
    roles = airlines or {"ACME": role("sam")}
    return Keyring(version, {key_id(public(name)): public(name) for name in names}, root or role("rita"), roles)


def provision(ring: Keyring, *names: str) -> Provisioned:
    """Signed by these people."""
    return Provisioned(ring, envelope(build_keyring(ring), *names, kind=TRUST_TYPE))


def changed(document: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**document, **fields}
