"""Decides whether a signed manifest may be used. Pure: no clock, no disk.

Checks, in this order: envelope and signatures (`loader.signatures.dsse`), strict JSON, the scope it was signed for, its
version against the highest one accepted before, its expiry against trusted time, then names, sizes and hashes.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from loader.contract.manifest import MANIFEST_LIMIT, Manifest, manifest_from_json
from loader.contract.strict_json import format_utc, loads
from loader.errors import BadManifest, Code, ContractError
from loader.frozen import frozen
from loader.signatures.dsse import BadEnvelope


@frozen
class SigningScope:
    """The airline, campaign and tail that a manifest must have been signed for."""

    airline: str
    campaign: str
    tail: str


@frozen
class SignedManifest:
    """A manifest with valid signatures, signed for this scope.

    `digest`: SHA-256 of the signed bytes. `summary`: the manifest without its content. `body`: the complete manifest,
    or the reason why it is refused.
    """

    digest: str
    summary: Manifest
    body: Manifest | ContractError


def read_signed_manifest(payload: bytes, scope: SigningScope) -> SignedManifest:
    """Parse a payload that has enough signatures.

    Raises:
        BadManifest: it breaks the contract.
        BadEnvelope: it was signed for another scope, or does not name its scope or version.
    """
    document = loads(payload, limit=MANIFEST_LIMIT, error=BadManifest, any_form=True)
    if not isinstance(document, dict):
        raise BadEnvelope("it does not say which airline and campaign it was signed for")
    for name, expected in (("airline", scope.airline), ("campaign", scope.campaign)):
        actual = document.get(name)
        if actual is None:
            raise BadEnvelope(f"it does not name its {name}")
        if actual != expected:
            raise BadEnvelope(f"it was signed for another {name}: {str(actual)[:80]!a}, not {expected!a}")
    summary = manifest_from_json({**document, "content": []}, airline=scope.airline, campaign=scope.campaign)
    if summary.tails is not None and scope.tail not in summary.tails:
        raise BadEnvelope(f"it was not signed for this aircraft: {scope.tail!a} is not among its tails")
    if summary.version is None:
        raise BadEnvelope("it was signed without a version, so an older manifest could not be detected")
    return SignedManifest(hashlib.sha256(payload).hexdigest(), summary, _read_body(document, scope))


def _read_body(document: object, scope: SigningScope) -> Manifest | ContractError:
    try:
        manifest = manifest_from_json(document, airline=scope.airline, campaign=scope.campaign)
    except BadManifest as error:
        return error
    return missing_hash_error(manifest) or manifest


def missing_hash_error(manifest: Manifest) -> BadEnvelope | None:
    """Return the error if an item has no hash: the signature would not cover its content."""
    bare = next((item.name for item in manifest.content if item.sha256 is None), None)
    return BadEnvelope(f"{bare!a} has no sha256, so no signature covers it") if bare is not None else None


def check_acceptable(signed: SignedManifest, min_version: int | None, now: datetime) -> Manifest:
    """Return the manifest, if it may be used. `min_version`: highest version accepted before. `now`: trusted time.

    Raises:
        ContractError: ROLLBACK, EXPIRED, or the error of its content.
    """
    summary = signed.summary
    if min_version is not None and (summary.version or 0) < min_version:
        raise ContractError(
            f"version {summary.version} is lower than version {min_version}, which was accepted before",
            code=Code.ROLLBACK,
        )
    if summary.expires is not None and summary.expires <= now:
        expired_at, now_text = format_utc(summary.expires), format_utc(now.replace(microsecond=0))
        raise ContractError(f"it expired at {expired_at}; the time is at least {now_text}", code=Code.EXPIRED)
    if isinstance(signed.body, ContractError):
        raise signed.body
    return signed.body
