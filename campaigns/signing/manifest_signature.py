"""Signs a campaign in the media bucket: the exact bytes of `campaign.json`, in `campaign.json.dsse`.

A manifest that an aircraft would refuse is not signed: the aircraft's own rules are applied
(`loader.signatures.signed_manifest`). Touches the media bucket only; keys come from `campaigns.signing.private_keys`
and are only used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from campaigns.signing.private_keys import public_hex
from loader.contract.keys import manifest_key, signature_key
from loader.contract.manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from loader.errors import BadName, Code, ContractError
from loader.s3.conditional import Overtaken, put_if_unchanged
from loader.s3.interface import Bucket, GetResult
from loader.signatures.dsse import (
    CAMPAIGN_TYPE,
    ENVELOPE_LIMIT,
    SIGNATURES_LIMIT,
    BadEnvelope,
    Envelope,
    build_envelope,
    key_id,
    parse_envelope,
    require_signatures,
    sign_envelope,
)
from loader.signatures.signed_manifest import SigningScope, check_acceptable, read_signed_manifest
from loader.signatures.trusted_keys import TrustedKeys


class SigningError(ContractError):
    """The campaign, or what was asked for, cannot be signed. `retryable`: the same command may well succeed later."""

    code = Code.BAD_MANIFEST

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class SignResult:
    """What was signed. `keys`: the ids of those who signed now; `others`: of signatures that were there and stay."""

    airline: str
    campaign: str
    version: int
    sha256: str
    items: int
    keys: tuple[str, ...]
    others: tuple[str, ...]


def sign_campaign(
    airline: str,
    campaign: str,
    media: Bucket,
    keys: Sequence[Ed25519PrivateKey],
    *,
    now: datetime,
    sha256: str | None = None,
) -> SignResult:
    """Sign what lies in the bucket with every one of `keys`, beside signatures of the same bytes that are there.

    `sha256`: of the campaign.json that is meant; another one is not signed, whoever put it there.

    Raises:
        SigningError: it is missing, is not the one that is meant, or an aircraft would refuse it; nothing was written.
        WorldError: the bucket failed.
    """
    fetched = _read_manifest(airline, campaign, media)
    digest = hashlib.sha256(fetched.body).hexdigest()
    if sha256 is not None and sha256 != digest:
        raise SigningError(f"campaign.json is not the one that is meant: its SHA-256 is {digest}")
    manifest = check_signable(fetched.body, airline, campaign, now)
    held, before = _read_envelope(airline, campaign, media)
    if before is not None and before.payload != fetched.body:
        _require_newer_version(before, manifest, airline, campaign)
        before = None
    envelope = before or Envelope(fetched.body, CAMPAIGN_TYPE)
    for key in keys:
        envelope = sign_envelope(envelope, key)
    if len(envelope.signatures) > SIGNATURES_LIMIT:
        raise SigningError(f"it would have {len(envelope.signatures)} signatures; {SIGNATURES_LIMIT} are allowed")
    _write(media, signature_key(airline, campaign), build_envelope(envelope), held)
    ours = [key_id(public_hex(key)) for key in keys]
    others = tuple(one.keyid for one in envelope.signatures if one.keyid not in ours)
    return SignResult(airline, campaign, manifest.version or 0, digest, len(manifest.content), tuple(ours), others)


def check_signable(body: bytes, airline: str, campaign: str, now: datetime) -> Manifest:
    """The manifest, if an aircraft that enforces signatures could take it. Raises SigningError."""
    try:
        tails = parse_manifest(body, airline=airline, campaign=campaign).tails
        if tails == ():
            raise SigningError("its list of tails is empty, so no aircraft would take it")
        signed = read_signed_manifest(body, SigningScope(airline, campaign, tails[0] if tails else ""))
        return check_acceptable(signed, None, now)
    except SigningError:
        raise
    except ContractError as error:
        raise SigningError(f"no aircraft would take it: {error}") from error


def format_summary(result: SignResult, missing: int | None = None) -> str:
    """The result in a few lines."""
    lines = [
        f"signed {result.airline}/{result.campaign} version {result.version}: {result.items} items",
        f"campaign.json has SHA-256 {result.sha256}",
        *(f"by key {keyid}" for keyid in result.keys),
        *(f"also signed by {keyid}" for keyid in result.others),
    ]
    if missing is not None:
        lines.append(f"{missing} more signatures are needed" if missing else "aircraft with these trusted keys take it")
    return "\n".join(lines)


def count_missing_signatures(airline: str, campaign: str, media: Bucket, trusted_keys: TrustedKeys) -> int:
    """How many more signatures the envelope in the bucket needs for these keys. Raises WorldError, ContractError."""
    fetched = media.get(signature_key(airline, campaign), ENVELOPE_LIMIT)
    role = trusted_keys.airlines.get(airline)
    if role is None or fetched is None:
        raise BadEnvelope(f"no key is trusted for {airline!a}")
    try:
        good = require_signatures(parse_envelope(fetched.body), trusted_keys.public_keys(role), 1)
    except BadEnvelope:
        return role.threshold
    return max(0, role.threshold - len(good))


def _read_manifest(airline: str, campaign: str, media: Bucket) -> GetResult:
    try:
        fetched = media.get(manifest_key(airline, campaign), MANIFEST_LIMIT)
    except BadName as error:
        raise SigningError(str(error)) from error
    if fetched is None:
        raise SigningError(f"there is no campaign.json of {airline}/{campaign}: publish it first")
    if fetched.truncated:
        raise SigningError(f"campaign.json is longer than {MANIFEST_LIMIT:,} bytes")
    return fetched


def _read_envelope(airline: str, campaign: str, media: Bucket) -> tuple[GetResult | None, Envelope | None]:
    """The object that is there, and the envelope in it if it is one."""
    held = media.get(signature_key(airline, campaign), ENVELOPE_LIMIT)
    try:
        return held, parse_envelope(held.body) if held and not held.truncated else None
    except BadEnvelope:
        return held, None


def _require_newer_version(before: Envelope, manifest: Manifest, airline: str, campaign: str) -> None:
    """A campaign.json older than the one that was signed was put there by mistake, or by somebody else."""
    try:
        signed = parse_manifest(before.payload, airline=airline, campaign=campaign).version or 0
    except ContractError:
        return
    if signed >= (manifest.version or 0):
        raise SigningError(
            f"campaign.json.dsse signs another version {signed}, and campaign.json is version {manifest.version}: "
            f"publish with a version above {signed}, or remove campaign.json.dsse if nobody of yours wrote it"
        )


def _write(media: Bucket, key: str, body: bytes, held: GetResult | None) -> None:
    try:
        put_if_unchanged(media, key, body, held.etag if held else None)
    except Overtaken as error:
        raise SigningError("someone else signed this campaign in the meantime: sign again", retryable=True) from error
