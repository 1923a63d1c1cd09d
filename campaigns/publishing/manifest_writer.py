"""Writes `campaign.json` to the media bucket, for folders and drafts alike. Touches the media bucket only.

The manifest is written last, when its objects are in place, with a version above every earlier one. The write is
conditional: it fails if campaign.json changed since it was read, so the second of two publishers is refused. Some
stores need another way (`ifeportal.storage.conditional_writes`). With keys, `campaign.json.dsse` follows; until then,
aircraft that enforce signatures use the previous version. The written manifest is read back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from campaigns.publishing.errors import PublishError
from campaigns.signing.manifest_signature import SignResult, check_signable, sign_campaign
from ifeportal.storage.conditional_writes import OnNotice, replace_object
from loader.contract.document_text import UnreadableDocument, decode_document, is_plain
from loader.contract.keys import manifest_key, signature_key
from loader.contract.manifest import MANIFEST_LIMIT, Manifest, build_manifest, parse_manifest
from loader.errors import BadManifest, Code, ContractError
from loader.s3.conditional import Overtaken
from loader.s3.interface import Bucket, GetResult, ObjectInfo
from loader.signatures.dsse import ENVELOPE_LIMIT, parse_envelope

_VERSION: Final = re.compile(r'"version"\s*:\s*([0-9]{1,15})', re.ASCII)


@dataclass(frozen=True)
class PublishedState:
    """A campaign in the bucket before it is published: its manifest, if valid, and its objects by key."""

    airline: str
    campaign: str
    manifest: Manifest | None
    fetched: GetResult | None
    objects: Mapping[str, ObjectInfo]

    @property
    def key(self) -> str:
        return manifest_key(self.airline, self.campaign)

    @property
    def is_signed(self) -> bool:
        return signature_key(self.airline, self.campaign) in self.objects

    @property
    def etag(self) -> str:
        """ETag of campaign.json; "" if there is none."""
        return self.fetched.etag if self.fetched else ""

    @property
    def visible_version(self) -> int:
        """Version in campaign.json, found by a search if the manifest is invalid; 0 if none."""
        if self.manifest:
            return self.manifest.version or 0
        versions = _VERSION.findall(_text(self.fetched.body)) if self.fetched else []
        return max(map(int, versions), default=0)

    @property
    def latest_change(self) -> str:
        """What someone else did last, for a draft that knew another campaign.json."""
        if not self.fetched:
            return "Someone else deleted campaign.json"
        version = self.visible_version
        return f"Someone else published {f'version {version}' if version else 'a campaign.json without a version'}"

    @cached_property
    def recorded_hashes(self) -> Mapping[str, str | None]:
        """SHA-256 of each item according to the manifest."""
        return {item.name: item.sha256 for item in self.manifest.content} if self.manifest else {}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The current `campaign.json`: its version, ETag and SHA-256. `changed`: it was written now."""

    version: int
    changed: bool
    etag: str
    sha256: str
    signed: SignResult | None = None


def read_published_state(airline: str, campaign: str, media: Bucket, notice: OnNotice) -> PublishedState:
    """Return the campaign in the bucket; `notice` is called if its manifest is invalid. Raises BadName, WorldError."""
    key = manifest_key(airline, campaign)
    objects = {found.key: found for found in media.list(key.rpartition("/")[0] + "/")}
    fetched = media.get(key, MANIFEST_LIMIT) if key in objects else None
    if fetched is None:
        return PublishedState(airline, campaign, None, None, objects)
    try:
        if fetched.truncated:
            raise BadManifest(f"the document is longer than {MANIFEST_LIMIT:,} bytes")
        manifest = parse_manifest(fetched.body, airline=airline, campaign=campaign)
    except BadManifest as exc:
        notice(f"the campaign.json in the bucket is invalid and is replaced: {exc}")
        return PublishedState(airline, campaign, None, fetched, objects)
    return PublishedState(airline, campaign, manifest, fetched, objects)


def write_manifest(
    wanted: Manifest,
    published: PublishedState,
    media: Bucket,
    notice: OnNotice,
    *,
    keys: Sequence[Ed25519PrivateKey] = (),
    signing: datetime | None = None,
    floor: int = 0,
) -> WriteResult:
    """Publish `wanted` with a version above the current one and above `floor`, signed with `keys` at `signing`.

    Nothing is written if the current manifest has the same content and is plain UTF-8. `signing` without keys: another
    party signs it.

    Raises:
        PublishError: aircraft would refuse the manifest, or someone else published meanwhile; theirs is current.
        SigningError: aircraft would refuse the signed manifest (then nothing was written), or someone else signed.
        WorldError: the bucket failed.
    """
    wanted = replace(wanted, signed_at=signing)
    current = published.manifest
    unsignable = bool(keys) and current is not None and current.version is None
    # Loaders of earlier versions read plain UTF-8 only.
    other_form = published.fetched is not None and not is_plain(published.fetched.body)
    changed = current is None or not same_content(wanted, current) or unsignable or other_form
    if changed:
        version = max(published.visible_version, floor, _signed_version(published, media)) + 1
        body = _build(replace(wanted, version=version), published)
        if keys and signing:
            check_signable(body, published.airline, published.campaign, signing)
        etag = _write(body, published, media, notice)
    else:
        assert published.fetched is not None
        version, body, etag = published.visible_version, published.fetched.body, published.etag
    _read_back(body, published, media)
    sha256 = hashlib.sha256(body).hexdigest()
    if changed and published.is_signed and signing is None:
        notice("campaign.json.dsse still signs the previous version: sign the campaign again")
    signed = None
    if keys and signing:
        signed = sign_campaign(
            published.airline, published.campaign, media, keys, now=signing, sha256=sha256, notice=notice
        )
    return WriteResult(version, changed, etag, sha256, signed)


def same_content(wanted: Manifest, old: Manifest) -> bool:
    """Return whether two manifests differ in nothing but version and time of signing."""
    return replace(wanted, signed_at=None, version=None) == replace(old, signed_at=None, version=None)


def _signed_version(published: PublishedState, media: Bucket) -> int:
    """Return the version in campaign.json.dsse; 0 if none. Aircraft that accepted it refuse a lower one."""
    if not published.is_signed:
        return 0
    fetched = media.get(signature_key(published.airline, published.campaign), ENVELOPE_LIMIT)
    try:
        payload = parse_envelope(fetched.body).payload if fetched else b""
        return parse_manifest(payload, airline=published.airline, campaign=published.campaign).version or 0
    except ContractError:
        return 0


def _text(body: bytes) -> str:
    """Return the text of a manifest that may be invalid, to search in."""
    try:
        return decode_document(body, MANIFEST_LIMIT)
    except UnreadableDocument:
        return body.decode(errors="replace")


def _build(manifest: Manifest, published: PublishedState) -> bytes:
    try:
        body = build_manifest(manifest)
        parse_manifest(body, airline=published.airline, campaign=published.campaign)
    except BadManifest as exc:
        raise PublishError(f"aircraft would refuse the manifest: {exc}", code=exc.code) from exc
    return body


def _write(body: bytes, published: PublishedState, media: Bucket, notice: OnNotice) -> str:
    try:
        return replace_object(media, published.key, body, published.fetched, notice)
    except Overtaken as exc:
        raise _overtaken_error() from exc


def _read_back(body: bytes, published: PublishedState, media: Bucket) -> None:
    found = media.get(published.key, MANIFEST_LIMIT)
    if found is None or found.body != body:
        raise _overtaken_error()


def _overtaken_error() -> PublishError:
    return PublishError(
        "someone else published this campaign in the meantime; their campaign.json is current. Publish again.",
        retryable=True,
        code=Code.OBJECT_CHANGED,
    )
