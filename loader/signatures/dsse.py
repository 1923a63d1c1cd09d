"""DSSE envelopes: a payload, its type and the signatures over both; parsed within bounds, verified, signed. Pure.

Ed25519 by `securesystemslib` (as TUF and in-toto use it) over `cryptography`. Inputs that the library accepts but that
must be refused are refused first: base64 with the URL-safe alphabet or stray bits, a threshold below 1, one signer
counted twice. Both packages take a quarter of a second to import, so they are imported by the first signature.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.contract.manifest import MANIFEST_LIMIT
from loader.contract.strict_json import Fields, dumps, json_type_name, loads
from loader.errors import Code, ContractError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CAMPAIGN_TYPE: Final = "application/vnd.ifeportal.campaign+json;v=1"
SIGNATURES_LIMIT: Final = 16
ENVELOPE_OVERHEAD: Final = 64 * 1024  # bytes of an envelope beside its payload
KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")
_SIGNATURE_SIZE: Final = 64  # bytes, of Ed25519
_KEY_ID_LIMIT: Final = 256


class BadEnvelope(ContractError):
    """It is no envelope we take, or too few of those who may sign have signed it."""

    code = Code.BAD_SIGNATURE


@dataclass(frozen=True, slots=True)
class Signature:
    """Who claims to have signed, and the signature; proven only by `verified_signers`."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """`payload` is what was signed, together with `kind`; nothing of it may be used before `require_signatures`."""

    payload: bytes
    kind: str
    signatures: tuple[Signature, ...] = ()


def key_id(public: str) -> str:
    """The id of an Ed25519 key (64 hexadecimal digits): derived from it as TUF does, so that no key can have two."""
    key = {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def envelope_limit(payload_limit: int) -> int:
    """Bytes of the longest envelope around so many bytes."""
    return 4 * -(-payload_limit // 3) + ENVELOPE_OVERHEAD


ENVELOPE_LIMIT: Final = envelope_limit(MANIFEST_LIMIT)


def parse_envelope(body: bytes, *, kind: str = CAMPAIGN_TYPE, limit: int = MANIFEST_LIMIT) -> Envelope:
    """The envelope in `body`, which must say that it holds `kind`, at most `limit` bytes of it. Nothing is proven yet.

    Raises:
        BadEnvelope: with a sentence that names the place.
    """
    return envelope_from_json(loads(body, limit=envelope_limit(limit), error=BadEnvelope), kind=kind, limit=limit)


def envelope_from_json(document: object, *, kind: str, limit: int) -> Envelope:
    """The same from JSON that was read already. Raises BadEnvelope."""
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
    """Standard alphabet, padded, nothing around it and no bits left over: one spelling for each value."""
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
    """The body of a `campaign.json.dsse`; parsing it gives the same envelope."""
    return dumps(envelope_to_json(envelope))


def envelope_to_json(envelope: Envelope) -> dict[str, object]:
    """The envelope as JSON has it."""
    return {
        "payload": b64encode(envelope.payload).decode(),
        "payloadType": envelope.kind,
        "signatures": [
            {"keyid": signature.keyid, "sig": b64encode(signature.value).decode()} for signature in envelope.signatures
        ],
    }


def verified_signers(envelope: Envelope, keys: Iterable[str]) -> frozenset[str]:
    """Those of `keys` (public keys, 64 hexadecimal digits each) whose signature is there and right."""
    public_keys = {key_id(public): public for public in keys}
    claims = [signature for signature in envelope.signatures if signature.keyid in public_keys]
    if not claims:
        return frozenset()
    data = _signed_bytes(envelope)
    return frozenset(public_keys[claim.keyid] for claim in claims if _is_valid(claim, public_keys[claim.keyid], data))


def require_signatures(envelope: Envelope, keys: Sequence[str], threshold: int) -> frozenset[str]:
    """Raise BadEnvelope unless `threshold` different ones of `keys` have signed; returns those who have."""
    if threshold < 1:
        raise BadEnvelope(f"a threshold of {threshold} would let unsigned data pass")
    signers = verified_signers(envelope, keys)
    if len(signers) < threshold:
        names = ", ".join(sorted({signature.keyid[:12] for signature in envelope.signatures}))
        required = "one of the keys known for it" if threshold == 1 else f"{threshold} of the keys known for it"
        raise BadEnvelope(f"it must be signed with {required}; {len(signers)} of these signatures count: {names!a}")
    return signers


def _signed_bytes(envelope: Envelope) -> bytes:
    # Late, as the module says; so are the other two.
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
    except UnverifiedSignatureError:  # a signature that could not be checked (VerificationError) is one of these
        return False
    return True


def sign_envelope(envelope: Envelope, key: Ed25519PrivateKey) -> Envelope:
    """The envelope with the signature of `key`, in place of an earlier one of the same key."""
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

    signature = CryptoSigner(key).sign(_signed_bytes(envelope))
    others = tuple(other for other in envelope.signatures if other.keyid != signature.keyid)
    return replace(envelope, signatures=(*others, Signature(signature.keyid, bytes.fromhex(signature.signature))))
