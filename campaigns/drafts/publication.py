"""Publishes and withdraws a draft: writes the media bucket from its rows, and the result to its rows.

May run twice and be killed at any point: the next run detects what is already written and does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from campaigns.drafts.validation import build_draft_manifest
from campaigns.models import Campaign, Draft, DraftItem, DraftState
from campaigns.publishing.errors import PublishError
from campaigns.publishing.manifest_writer import PublishedState, WriteResult, same_content, write_manifest
from ifeportal import audit
from ifeportal.bulk import where_in
from ifeportal.jobs.queue import make_due
from ifeportal.models import User
from ifeportal.storage.background import call
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.keys import content_key, manifest_key, signature_key
from loader.contract.manifest import Manifest
from loader.errors import Code
from loader.s3.interface import Bucket, ObjectInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublicationResult:
    """The result of a publication or withdrawal, recorded in one transaction."""

    state: DraftState
    fields: dict[str, object]
    in_manifest: frozenset[str]


def publish(
    draft: Draft,
    published: PublishedState,
    media: Bucket,
    keys: Sequence[Ed25519PrivateKey],
    now: datetime,
    lease: WorkLease = NO_LEASE,
) -> PublicationResult:
    """Write the manifest of a draft. Raises PublishError, SigningError, WorldError, LeaseLost."""
    chosen = list(draft.items.filter(included=True))
    _require_hashed_objects(draft, chosen, published)
    wanted = build_draft_manifest(draft, chosen)
    _require_not_overtaken(draft, published, wanted)
    notices: list[str] = []
    signing, floor = now if keys else None, _min_version(draft)
    write = partial(write_manifest, wanted, published, media, notices.append, keys=keys, signing=signing, floor=floor)
    written = call(write, lease)
    fields = {**_published_fields(written, now), "notices": list(dict.fromkeys(notices))}
    if not written.changed and draft.published_at and draft.version == written.version:
        fields["published_at"] = draft.published_at
    return PublicationResult(DraftState.PUBLISHED, fields, frozenset(item.name for item in chosen))


def withdraw(
    draft: Draft, published: PublishedState, media: Bucket, now: datetime, lease: WorkLease = NO_LEASE
) -> PublicationResult:
    """Delete the manifest and its signature; items stay. Raises PublishError, WorldError, LeaseLost."""
    if published.fetched:
        _require_not_overtaken(draft, published, None)
    call(partial(_delete, draft.airline.name, draft.name, published, media), lease)
    fields: dict[str, object] = {"withdrawn_at": now, "manifest_etag": "", "manifest_version": None, "notices": []}
    return PublicationResult(DraftState.WITHDRAWN, fields, frozenset())


def _delete(airline: str, campaign: str, published: PublishedState, media: Bucket) -> None:
    if published.fetched:
        _delete_if_unchanged(media, manifest_key(airline, campaign), published.etag)
    if published.is_signed:
        _delete_if_listed_unchanged(media, published.objects[signature_key(airline, campaign)])


def record_result(draft: Draft, result: PublicationResult, requested_by: User | None) -> None:
    """Write the result. Call it in the transaction that ends the operation."""
    before = draft.manifest_version
    Draft.objects.filter(pk=draft.pk).update(state=result.state, **result.fields)
    names = dict(draft.items.values_list("pk", "name"))
    for listed in (True, False):
        wrong = [[pk] for pk, name in names.items() if (name in result.in_manifest) is listed]
        rows = draft.items.filter(where_in(DraftItem, ["id"], wrong))
        rows.exclude(in_manifest=listed).update(in_manifest=listed)
    Campaign.objects.filter(airline=draft.airline, name=draft.name).update(
        withdrawn_at=result.fields.get("withdrawn_at")
    )
    _audit(draft, before, result, requested_by)
    transaction.on_commit(partial(make_due, f"poll:{draft.airline.name}"), robust=True)
    logger.info("draft %s is %s", draft, result.state)


def _audit(draft: Draft, before: int | None, result: PublicationResult, requested_by: User | None) -> None:
    """Log the change as made by the user who requested it."""
    after = result.fields["manifest_version"]
    changes = {"manifest_version": (before, after)} if before != after else {}
    actor = audit.Actor.job(requested_by)
    audit.record(actor, f"draft.{result.state}", str(draft), airline=draft.airline, changes=changes)


def _require_hashed_objects(draft: Draft, chosen: Sequence[DraftItem], published: PublishedState) -> None:
    """Raise PublishError unless each object is the one that was hashed: the manifest announces its hash to aircraft."""
    reasons = []
    for item in chosen:
        found = published.objects.get(content_key(draft.airline.name, draft.name, item.name))
        if found is None:
            reasons.append(f"{item.name} is no longer in the bucket")
        elif (found.etag, found.size) != (item.sha256_etag, item.size):
            reasons.append(f"{item.name} was replaced since it was hashed")
    if reasons:
        rest = [f"and {len(reasons) - 10:,} more"] if len(reasons) > 10 else []
        text = "; ".join([*reasons[:10], *rest]) + ". Scan the bucket, hash, then publish again."
        raise PublishError(text, code=Code.OBJECT_CHANGED)


def _require_not_overtaken(draft: Draft, published: PublishedState, wanted: Manifest | None) -> None:
    """Raise PublishError if someone else changed the manifest; one with the wanted content is our own earlier write."""
    if published.etag == draft.manifest_etag:
        return
    if wanted is not None and published.manifest and same_content(wanted, published.manifest):
        return
    raise PublishError(
        f"{published.latest_change} since the last scan. Nothing was overwritten, and the draft is unchanged. "
        "Scan the bucket to see the differences, then publish or withdraw again.",
        code=Code.OBJECT_CHANGED,
    )


def _min_version(draft: Draft) -> int:
    """Return the highest version known. Aircraft that enforce signatures refuse a version below one they accepted."""
    known = Campaign.objects.filter(airline=draft.airline, name=draft.name).values_list("version", flat=True).first()
    return max(draft.version or 0, known or 0)


def _published_fields(written: WriteResult, now: datetime) -> dict[str, object]:
    return {
        "version": written.version,
        "manifest_version": written.version,
        "manifest_etag": written.etag,
        "published_at": now,
        "published_sha256": written.sha256,
        "signed_by": ", ".join(written.signed.keys) if written.signed else "",
        "withdrawn_at": None,
    }


def _delete_if_unchanged(media: Bucket, key: str, etag: str) -> None:
    # Not every store supports conditional deletes, so the ETag is compared right before.
    found = media.get(key, 1)
    if found is not None:
        _require_same_etag(found.etag, etag)
        media.delete(key)


def _delete_if_listed_unchanged(media: Bucket, listed: ObjectInfo) -> None:
    # The ETag of a listing is compared with a listing: on some stores a GET has another one.
    found = next((each for each in media.list(listed.key) if each.key == listed.key), None)
    if found is not None:
        _require_same_etag(found.etag, listed.etag)
        media.delete(listed.key)


def _require_same_etag(found: str, expected: str) -> None:
    if found != expected:
        text = "Not withdrawn: someone else published the campaign at the same time. Scan the bucket."
        raise PublishError(text, code=Code.OBJECT_CHANGED)
