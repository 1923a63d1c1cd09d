"""Signs a campaign in the media bucket: the exact bytes of `campaign.json`, in `campaign.json.dsse`.

A manifest that aircraft would refuse is not signed: the rules of the aircraft are applied first
(`loader.signatures.signed_manifest`). Touches the media bucket only; `campaigns.signing.private_keys` loads the keys.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.template.defaultfilters import pluralize

from campaigns.signing.envelopes import SigningError, add_signatures, read_envelope
from ifeportal.storage.conditional_writes import OnNotice
from loader.contract.keys import manifest_key, signature_key
from loader.contract.manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from loader.errors import BadName, Code, ContractError
from loader.s3.interface import Bucket, GetResult
from loader.signatures.dsse import (
    CAMPAIGN_TYPE,
    ENVELOPE_LIMIT,
    BadEnvelope,
    Envelope,
    parse_envelope,
    require_signatures,
)
from loader.signatures.signed_manifest import SigningScope, check_acceptable, read_signed_manifest
from loader.signatures.trusted_keys import TrustedKeys

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignResult:
    """A signed campaign. `keys`: ids of the keys that signed now; `others`: ids of the earlier signatures."""

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
    notice: OnNotice = logger.warning,
) -> SignResult:
    """Sign the campaign.json in the bucket with each of `keys`. Existing signatures of the same bytes are preserved.

    `sha256`: hash of the campaign.json to sign. One with another hash is not signed. `notice` gets sentences about the
    store.

    Raises:
        SigningError: campaign.json is missing or has another hash, or aircraft would refuse it; nothing was written.
        WorldError: the bucket failed.
    """
    fetched = _read_manifest(airline, campaign, media)
    digest = hashlib.sha256(fetched.body).hexdigest()
    if sha256 is not None and sha256 != digest:
        raise SigningError(f"expected SHA-256 {sha256}, but campaign.json has {digest}", code=Code.OBJECT_CHANGED)
    manifest = check_signable(fetched.body, airline, campaign, now)
    stored = read_envelope(media, signature_key(airline, campaign), kind=CAMPAIGN_TYPE, limit=MANIFEST_LIMIT)
    present = stored.envelope
    if present is not None and present.payload != fetched.body:
        _require_newer_version(present, manifest, airline, campaign)
        present = None
    envelope = present or Envelope(fetched.body, CAMPAIGN_TYPE)
    signers = add_signatures(media, stored, envelope, keys, notice)
    size = len(manifest.content)
    return SignResult(airline, campaign, manifest.version or 0, digest, size, signers.keys, signers.others)


def check_signable(body: bytes, airline: str, campaign: str, now: datetime) -> Manifest:
    """Return the manifest if aircraft that enforce signatures would accept it. Raises SigningError."""
    try:
        tails = parse_manifest(body, airline=airline, campaign=campaign).tails
        if tails == ():
            raise SigningError("the list of tails is empty, so no aircraft would accept it")
        signed = read_signed_manifest(body, SigningScope(airline, campaign, tails[0] if tails else ""))
        return check_acceptable(signed, None, now)
    except SigningError:
        raise
    except ContractError as error:
        raise SigningError(f"aircraft would refuse it: {error}") from error


def format_summary(result: SignResult, missing: int | None = None) -> str:
    """Return the result as lines of text. `missing`: signatures that aircraft still need, None if unknown."""
    items = f"{result.items:,} item{pluralize(result.items)}"
    lines = [
        f"Signed {result.airline}/{result.campaign} version {result.version}: {items}",
        f"SHA-256 of campaign.json: {result.sha256}",
        *(f"Signed by key {keyid}" for keyid in result.keys),
        *(f"Already signed by key {keyid}" for keyid in result.others),
    ]
    if missing is not None:
        needed = f"Missing signatures: {missing}"
        lines.append(needed if missing else "Aircraft with these trusted keys accept the campaign.")
    return "\n".join(lines)


def count_missing_signatures(airline: str, campaign: str, media: Bucket, trusted_keys: TrustedKeys) -> int:
    """Return how many signatures the envelope in the bucket lacks for these keys. Raises WorldError, ContractError."""
    fetched = media.get(signature_key(airline, campaign), ENVELOPE_LIMIT)
    role = trusted_keys.airlines.get(airline)
    if role is None or fetched is None:
        raise BadEnvelope(f"no key is trusted for {airline!a}")
    try:
        valid = require_signatures(parse_envelope(fetched.body), trusted_keys.public_keys(role), 1)
    except BadEnvelope:
        return role.threshold
    return max(0, role.threshold - len(valid))


def _read_manifest(airline: str, campaign: str, media: Bucket) -> GetResult:
    try:
        fetched = media.get(manifest_key(airline, campaign), MANIFEST_LIMIT)
    except BadName as error:
        raise SigningError(str(error)) from error
    if fetched is None:
        raise SigningError(f"{airline}/{campaign} has no campaign.json: publish the campaign first")
    if fetched.truncated:
        raise SigningError(f"campaign.json is longer than {MANIFEST_LIMIT:,} bytes")
    return fetched


def _require_newer_version(present: Envelope, manifest: Manifest, airline: str, campaign: str) -> None:
    # Aircraft refuse a version that is not above the signed one: it was uploaded by mistake, or by an attacker.
    try:
        signed = parse_manifest(present.payload, airline=airline, campaign=campaign).version or 0
    except ContractError:
        return
    if signed >= (manifest.version or 0):
        raise SigningError(
            f"campaign.json.dsse already signs version {signed}, but campaign.json has version {manifest.version}: "
            f"publish with a version above {signed}, or delete campaign.json.dsse if you did not create it"
        )
