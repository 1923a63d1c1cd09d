"""DSSE envelopes: a payload, its type and the signatures over both; parsed within bounds, verified, signed. Pure.

Ed25519 comes from `securesystemslib` (which TUF and in-toto use) with `cryptography`. This module first refuses input
that the library would accept: base64 with the URL-safe alphabet or stray bits, a threshold below 1, one signer counted
twice. Importing both packages takes 0.25 s, so only the first signature imports them.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loader.contract.manifest import MANIFEST_LIMIT
from loader.contract.strict_json import Fields, dumps, json_type_name, loads
from loader.errors import Code, ContractError
from loader.frozen import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CAMPAIGN_TYPE: Final = "application/vnd.ifeportal.campaign+json;v=1"
QUEUE_TYPE: Final = "application/vnd.ifeportal.queue+json;v=1"
SIGNATURES_LIMIT: Final = 16
ENVELOPE_OVERHEAD: Final = 64 * 1024  # bytes of an envelope without its payload
KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")
_SIGNATURE_SIZE: Final = 64  # bytes, of Ed25519
_KEY_ID_LIMIT: Final = 256


class BadEnvelope(ContractError):
    """The envelope is invalid, or too few trusted keys have signed it."""

    code = Code.BAD_SIGNATURE


@frozen
class Signature:
    """The claimed signer and the signature; `verified_signers` verifies it."""

    keyid: str
    value: bytes


@frozen
class Envelope:
    """A signed `payload` and its type `kind`. Call `require_signatures` before using any of it."""

    payload: bytes
    kind: str
    signatures: tuple[Signature, ...] = ()


def key_id(public: str) -> str:
    """Return the id of an Ed25519 public key (64 hexadecimal digits), derived as in TUF: one id for each key."""
    key = {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def envelope_limit(payload_limit: int) -> int:
    """Return the largest size of an envelope, in bytes, for a payload of `payload_limit` bytes."""
    return 4 * -(-payload_limit // 3) + ENVELOPE_OVERHEAD


ENVELOPE_LIMIT: Final = envelope_limit(MANIFEST_LIMIT)


def parse_envelope(body: bytes, *, kind: str = CAMPAIGN_TYPE, limit: int = MANIFEST_LIMIT) -> Envelope:
    """Parse an envelope with a payload of type `kind` and at most `limit` bytes. Verifies no signature.

    Raises:
        BadEnvelope: with a sentence that names the position.
    """
    return envelope_from_json(loads(body, limit=envelope_limit(limit), error=BadEnvelope), kind=kind, limit=limit)


def envelope_from_json(document: object, *, kind: str, limit: int) -> Envelope:
    """Do the same as `parse_envelope` for parsed JSON. Raises BadEnvelope."""
    fields = Fields(document, "", BadEnvelope)
    payload_type = fields.text("payloadType")
    if payload_type != kind:
        fields.fail("payloadType", f"must be {kind}, not {payload_type[:120]!a}")
    signatures = fields.array("signatures")
    if not 1 <= len(signatures) <= SIGNATURES_LIMIT:
        fields.fail("signatures", f"has {len(signatures):,} entries; 1 to {SIGNATURES_LIMIT} are allowed")
    payload = _base64(fields, "payload")
    if len(payload) > limit:
        fields.fail("payload", f"has {len(payload):,} bytes; {limit:,} are allowed")
    return Envelope(payload, kind, tuple(_signature(entry, index) for index, entry in enumerate(signatures)))


def _signature(entry: object, index: int) -> Signature:
    fields = Fields(entry, f"signatures[{index}]", BadEnvelope)
    keyid = fields.text("keyid")
    if not 1 <= len(keyid) <= _KEY_ID_LIMIT:
        fields.fail("keyid", f"must have 1 to {_KEY_ID_LIMIT} characters")
    return Signature(keyid, _base64(fields, "sig"))


def _base64(fields: Fields, name: str) -> bytes:
    """Decode base64: standard alphabet, padded, no other characters or stray bits. Each value has one spelling."""
    text = fields.pop(name)
    if not isinstance(text, str):
        fields.fail(name, "is missing" if text is None else f"must be a string, not {json_type_name(text)}")
    try:
        value = binascii.a2b_base64(text.encode(), strict_mode=True)
    except binascii.Error:
        value = None
    if value is None or b64encode(value).decode() != text:
        fields.fail(name, "must be base64 in the standard alphabet, padded")
    return value


def build_envelope(envelope: Envelope) -> bytes:
    """Return the body of a `campaign.json.dsse`; parsing it gives the same envelope."""
    return dumps(envelope_to_json(envelope))


def envelope_to_json(envelope: Envelope) -> dict[str, object]:
    return {
        "payload": b64encode(envelope.payload).decode(),
        "payloadType": envelope.kind,
        "signatures": [
            {"keyid": signature.keyid, "sig": b64encode(signature.value).decode()} for signature in envelope.signatures
        ],
    }


def verified_signers(envelope: Envelope, keys: Iterable[str]) -> frozenset[str]:
    """Return the `keys` (public keys, 64 hexadecimal digits each) with a valid signature."""
    public_keys = {key_id(public): public for public in keys}
    claims = [signature for signature in envelope.signatures if signature.keyid in public_keys]
    if not claims:
        return frozenset()
    data = _signed_bytes(envelope)
    return frozenset(public_keys[claim.keyid] for claim in claims if _is_valid(claim, public_keys[claim.keyid], data))


def require_signatures(envelope: Envelope, keys: Sequence[str], threshold: int) -> frozenset[str]:
    """Return the `keys` that have signed. Raises BadEnvelope if they are fewer than `threshold`."""
    if threshold < 1:
        raise BadEnvelope(f"a threshold of {threshold} would accept unsigned data")
    signers = verified_signers(envelope, keys)
    if len(signers) < threshold:
        names = ", ".join(sorted({signature.keyid[:12] for signature in envelope.signatures}))
        required = "a valid signature" if threshold == 1 else f"{threshold} valid signatures"
        raise BadEnvelope(f"it needs {required} from its trusted keys; {len(signers)} of these are valid: {names!a}")
    return signers


def _signed_bytes(envelope: Envelope) -> bytes:
    # Imported late, as the module docstring says, like the other two.
    from securesystemslib.dsse import Envelope as Standard  # noqa: PLC0415

    return Standard(envelope.payload, envelope.kind, {}).pae()


def _is_valid(claim: Signature, public: str, data: bytes) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError  # noqa: PLC0415
    from securesystemslib.signer import Signature as Standard  # noqa: PLC0415
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415

    if len(claim.value) != _SIGNATURE_SIZE:
        return False
    key = SSlibKey(claim.keyid, "ed25519", "ed25519", {"public": public})
    try:
        key.verify_signature(Standard(claim.keyid, claim.value.hex()), data)
    except UnverifiedSignatureError:  # includes VerificationError: the signature could not be checked
        return False
    return True


def sign_envelope(envelope: Envelope, key: Ed25519PrivateKey) -> Envelope:
    """Return the envelope with a signature of `key`, which replaces an earlier one of the same key."""
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

    signature = CryptoSigner(key).sign(_signed_bytes(envelope))
    others = tuple(other for other in envelope.signatures if other.keyid != signature.keyid)
    return replace(envelope, signatures=(*others, Signature(signature.keyid, bytes.fromhex(signature.signature))))
