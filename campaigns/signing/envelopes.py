"""Reads, signs and writes envelopes in the media bucket: what signing a manifest and a queue have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from campaigns.signing.private_keys import public_hex
from ifeportal.storage.conditional_writes import OnNotice, replace_object
from loader.errors import Code, ContractError
from loader.s3.conditional import Overtaken
from loader.s3.interface import Bucket, GetResult
from loader.signatures.dsse import (
    SIGNATURES_LIMIT,
    BadEnvelope,
    Envelope,
    build_envelope,
    envelope_limit,
    key_id,
    parse_envelope,
    sign_envelope,
)


class SigningError(ContractError):
    """A document cannot be signed. `retryable`: the same request may succeed when it is repeated."""

    code = Code.BAD_MANIFEST

    def __init__(self, message: str, *, retryable: bool = False, code: Code | None = None) -> None:
        super().__init__(message, code=code)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Signers:
    """Ids of the keys that signed now, and of those whose earlier signatures were preserved."""

    keys: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredEnvelope:
    """An envelope object in the bucket: None if absent, and its envelope if it is a valid one of this type."""

    key: str
    fetched: GetResult | None
    envelope: Envelope | None


def read_envelope(media: Bucket, key: str, *, kind: str, limit: int) -> StoredEnvelope:
    """Read the envelope at `key`, whose payload has this type and at most `limit` bytes. Raises WorldError."""
    fetched = media.get(key, envelope_limit(limit))
    try:
        is_complete = fetched is not None and not fetched.truncated
        envelope = parse_envelope(fetched.body, kind=kind, limit=limit) if fetched and is_complete else None
    except BadEnvelope:
        envelope = None
    return StoredEnvelope(key, fetched, envelope)


def add_signatures(
    media: Bucket, stored: StoredEnvelope, envelope: Envelope, keys: Sequence[Ed25519PrivateKey], notice: OnNotice
) -> Signers:
    """Sign `envelope` with each of `keys` and write it in place of `stored`.

    Raises:
        SigningError: too many signatures, or someone else signed in the meantime; nothing was written.
        WorldError: the bucket failed.
    """
    for key in keys:
        envelope = sign_envelope(envelope, key)
    if len(envelope.signatures) > SIGNATURES_LIMIT:
        raise SigningError(
            f"the envelope would have {len(envelope.signatures)} signatures; the limit is {SIGNATURES_LIMIT}"
        )
    try:
        replace_object(media, stored.key, build_envelope(envelope), stored.fetched, notice)
    except Overtaken as error:
        text = "someone else signed it in the meantime: sign it again"
        raise SigningError(text, retryable=True, code=Code.OBJECT_CHANGED) from error
    ours = tuple(key_id(public_hex(key)) for key in keys)
    return Signers(ours, tuple(each.keyid for each in envelope.signatures if each.keyid not in ours))
