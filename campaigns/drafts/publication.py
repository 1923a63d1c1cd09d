"""Publishes and withdraws a draft: from its rows into the media bucket, and the result back into the rows.

May run twice, and be killed at any point: what was written already is recognised, and only the rest follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from campaigns.drafts.validation import build_draft_manifest
from campaigns.models import Campaign, Draft, DraftItem, DraftState
from campaigns.publishing.errors import PublishError
from campaigns.publishing.manifest_writer import PublishedState, WriteResult, same_content, write_manifest
from ifeportal import audit
from ifeportal.bulk import where_in
from ifeportal.jobs.queue import make_due
from ifeportal.work_lease import WorkLease
from loader.contract.keys import content_key, manifest_key, signature_key
from loader.contract.manifest import Manifest
from loader.s3.interface import Bucket


@dataclass(frozen=True, slots=True)
class PublicationResult:
    """What was done, to be written down in one transaction."""

    state: DraftState
    fields: dict[str, object]
    in_manifest: frozenset[str]


def publish(
    draft: Draft, published: PublishedState, media: Bucket, keys: Sequence[Ed25519PrivateKey], now: datetime
) -> PublicationResult:
    """Put the draft in force. Raises PublishError, SigningError, WorldError."""
    chosen = list(draft.items.filter(included=True))
    _require_hashed_objects(draft, chosen, published)
    wanted = build_draft_manifest(draft, chosen)
    _require_not_overtaken(draft, published, wanted)
    notices: list[str] = []
    released = write_manifest(
        wanted, published, media, notices.append, keys=keys, signing=now if keys else None, floor=_min_version(draft)
    )
    facts = {**_published_fields(released, now), "notices": notices}
    if not released.changed and draft.published_at and draft.version == released.version:
        facts["published_at"] = draft.published_at
    return PublicationResult(DraftState.PUBLISHED, facts, frozenset(item.name for item in chosen))


def withdraw(draft: Draft, published: PublishedState, media: Bucket, now: datetime) -> PublicationResult:
    """Take the manifest and its signature out of the bucket; the items stay. Raises PublishError, WorldError."""
    key = manifest_key(draft.airline.name, draft.name)
    if published.fetched:
        _require_not_overtaken(draft, published, None)
        _delete_if_unchanged(media, key, published.etag)
    if published.is_signed:
        signature = signature_key(draft.airline.name, draft.name)
        _delete_if_unchanged(media, signature, published.objects[signature].etag)
    facts: dict[str, object] = {"withdrawn_at": now, "manifest_etag": "", "manifest_version": None, "notices": []}
    return PublicationResult(DraftState.WITHDRAWN, facts, frozenset())


def record_result(draft: Draft, done: PublicationResult, lease: WorkLease) -> None:
    """What became of it, in one transaction, if the draft still waits for that."""
    with transaction.atomic():
        lease.check_fence()
        if not draft.current_request().start_over(state=done.state, **done.fields):
            return
        names = dict(draft.items.values_list("pk", "name"))
        for listed in (True, False):
            wrong = [[pk] for pk, name in names.items() if (name in done.in_manifest) is listed]
            rows = draft.items.filter(where_in(DraftItem, ["id"], wrong))
            rows.exclude(in_manifest=listed).update(in_manifest=listed)
        Campaign.objects.filter(airline=draft.airline, name=draft.name).update(
            withdrawn_at=done.fields.get("withdrawn_at")
        )
        _audit(draft, done)
    make_due(f"poll:{draft.airline.name}")


def _audit(draft: Draft, done: PublicationResult) -> None:
    """Record the change as that of the user who asked for it."""
    before, after = draft.manifest_version, done.fields["manifest_version"]
    changes = {"manifest_version": (before, after)} if before != after else {}
    actor = audit.Actor.job(draft.requested_by)
    audit.record(actor, f"draft.{done.state}", str(draft), airline=draft.airline, changes=changes)


def _require_hashed_objects(draft: Draft, chosen: Sequence[DraftItem], published: PublishedState) -> None:
    """Each object is the one that was hashed: a last look before the manifest promises it to aircraft."""
    reasons = []
    for item in chosen:
        found = published.objects.get(content_key(draft.airline.name, draft.name, item.name))
        if found is None:
            reasons.append(f"{item.name} is no longer in the bucket")
        elif (found.etag, found.size) != (item.sha256_etag, item.size):
            reasons.append(f"{item.name} was replaced since it was hashed")
    if reasons:
        more = [f"and {len(reasons) - 10:,} more"] if len(reasons) > 10 else []
        raise PublishError("; ".join([*reasons[:10], *more]) + ". Look into the bucket, hash, then publish again.")


def _require_not_overtaken(draft: Draft, published: PublishedState, wanted: Manifest | None) -> None:
    """The manifest is the one the draft was made upon, or says what this one would (it was written, then killed)."""
    if published.etag == draft.manifest_etag:
        return
    if wanted is not None and published.manifest and same_content(wanted, published.manifest):
        return
    if not published.fetched:
        what = "Somebody has taken its campaign.json out of the bucket"
    else:
        what = f"Somebody else has published version {published.visible_version}"
    raise PublishError(
        f"{what} since this draft looked. Nothing was overwritten, and the draft is as it was: look into the bucket to "
        "see what differs, then decide again."
    )


def _min_version(draft: Draft) -> int:
    """The highest version ever seen: aircraft that enforce signatures take nothing below what they accepted."""
    known = Campaign.objects.filter(airline=draft.airline, name=draft.name).values_list("version", flat=True).first()
    return max(draft.version or 0, known or 0)


def _published_fields(released: WriteResult, now: datetime) -> dict[str, object]:
    return {
        "version": released.version,
        "manifest_version": released.version,
        "manifest_etag": released.etag,
        "published_at": now,
        "published_sha256": released.sha256,
        "signed_by": ", ".join(released.signed.keys) if released.signed else "",
        "withdrawn_at": None,
    }


def _delete_if_unchanged(media: Bucket, key: str, etag: str) -> None:
    """Stores have no condition for it that all of them know, so it is looked at right before."""
    found = media.get(key, 1)
    if found is None:
        return
    if found.etag != etag:
        raise PublishError("Somebody else has published it this very moment. It was not withdrawn: look, and decide.")
    media.delete(key)
