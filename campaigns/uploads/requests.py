"""Requests about uploads: create, touch, complete, delete. Touches the database only.

Requests that change which names are taken lock the row of the airline, so that of two uploads of one name exactly one
is created, and quotas hold. `begin` and `complete` get what the store says from their caller.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F

from campaigns.drafts.requests import request_scan, revalidate
from campaigns.library.models import LibraryItem
from campaigns.models import Draft, DraftItem
from campaigns.uploads.announcements import names
from campaigns.uploads.announcements.occupied import is_published, require_free, require_spelling
from campaigns.uploads.announcements.part_plan import PartPlan, plan_parts
from campaigns.uploads.announcements.quotas import require_allowed_size, require_quota
from campaigns.uploads.deletion import request_deletion
from campaigns.uploads.models import UNFINISHED, Stage, Upload, UploadStatus
from campaigns.uploads.refusals import Refusal, RequestRefused
from ifeportal import audit
from ifeportal.audit import Actor
from ifeportal.models import Airline
from ifeportal.operations import requests as operations
from ifeportal.operations.models import Operation, OperationState
from loader.frozen import frozen

UPLOAD: Final = "upload"  # the kind of operations
WAITING_FOR_CLIENT: Final = "Waiting for the client to send the file."
FIRST_SLICE_AFTER: Final = timedelta(seconds=5)  # meanwhile the request itself begins the upload at the store
TOUCH_PRECISION: Final = timedelta(seconds=5)  # `touched_at` is written at most this often, unless the expiry is short
MISSING_SHOWN: Final = 10_000


@frozen
class UploadRequest:
    """A request for an upload, parsed. Exactly one of `size` (bytes) and `source_url` is given."""

    file: names.FileName
    size: int | None
    campaign: str = ""
    title: str = ""
    kind: str = ""
    content_type: str = ""
    sha256: str = ""
    replace: bool = False
    source_url: str = ""
    file_modified: int | None = None
    first_part_sha256: str = ""


def create_upload(actor: Actor, airline: Airline, wanted: UploadRequest, now: datetime) -> Upload:
    """Create the upload and its operation. A campaign that does not exist becomes a draft.

    Raises RequestRefused, InvalidField.
    """
    require_allowed_size(wanted.size)
    with transaction.atomic():
        lock_places(airline)
        if wanted.campaign:
            require_spelling(airline, wanted.campaign)
        require_free(airline, wanted.campaign, wanted.file.item, replace=wanted.replace)
        require_quota(airline, wanted.size, into_library=not wanted.campaign)
        if wanted.campaign:
            _require_draft(actor, airline, wanted.campaign)
        upload = _create_rows(actor, airline, wanted, now)
        changes = {"size": (None, wanted.size), "replace": (False, True) if wanted.replace else None}
        _record(actor, "upload.created", upload, {name: pair for name, pair in changes.items() if pair})
    return upload


def touch(upload: Upload, now: datetime) -> None:
    """Record that the client continues the upload: it expires UPLOAD_EXPIRES from now. At most every few seconds."""
    precision = min(TOUCH_PRECISION, timedelta(seconds=settings.UPLOAD_EXPIRES / 4))
    if upload.touched_at is not None and timedelta() <= now - upload.touched_at < precision:
        return
    upload.touched_at, upload.operation.expires_at = now, expiry(now)
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk, status__in=UNFINISHED).update(touched_at=now)
        Operation.objects.open().filter(pk=upload.pk).update(expires_at=expiry(now))


def expiry(now: datetime) -> datetime:
    """Return when an upload expires that is not continued."""
    return now + timedelta(seconds=settings.UPLOAD_EXPIRES)


def begin(upload: Upload, store_upload_id: str) -> bool:
    """Record the multipart upload at the store. Return False if it has another one, or has ended: abort this one."""
    rows = Upload.objects.filter(pk=upload.pk, store_upload_id="", status__in=UNFINISHED)
    begun = bool(rows.update(store_upload_id=store_upload_id))
    if begun:
        upload.store_upload_id = store_upload_id
    else:
        upload.refresh_from_db(fields=["store_upload_id", "status"])
    return begun


def plan_of(upload: Upload) -> PartPlan:
    """Return the parts of the upload. Raises RequestRefused for one that a worker fetches from a URL."""
    if upload.source_url:
        raise RequestRefused(Refusal.FROM_URL, "This file is fetched from a URL. It has no parts to send.")
    return PartPlan(upload.size or 0, upload.part_size, upload.parts_total)


def require_open(upload: Upload, now: datetime) -> None:
    """Raise RequestRefused if no more parts can be sent: the upload has ended, has expired or is complete."""
    if upload.status not in UNFINISHED or not upload.operation.is_open:
        expired = upload.operation.state == OperationState.EXPIRED
        word = (
            "expired"
            if expired
            else {UploadStatus.DELETED: "deleted", UploadStatus.UPLOADED: "uploaded"}.get(
                UploadStatus(upload.status), "failed"
            )
        )
        raise RequestRefused(Refusal.ENDED, f"The upload has ended: {word}. Start a new one.")
    if upload.operation.expires_at is not None and upload.operation.expires_at <= now:
        raise RequestRefused(Refusal.ENDED, "The upload has expired. Start a new one.")
    if upload.completed_at is not None:
        raise RequestRefused(Refusal.ENDED, "The upload is complete. No more parts can be sent.")


def require_all_parts(upload: Upload, stored: Mapping[int, int]) -> None:
    """Raise RequestRefused with the missing parts; `stored` is {number: size} of the store.

    A part of another size than planned is missing, too.
    """
    plan = plan_of(upload)
    missing = [number for number in range(1, plan.total + 1) if stored.get(number) != plan.length(number)]
    if missing:
        shown = ", ".join(f"{number:,}" for number in missing[:10]) + (" …" if len(missing) > 10 else "")
        text = f"The store does not have all parts. Send these, then complete the upload again: {shown}"
        raise RequestRefused(Refusal.PARTS_MISSING, f"{text}.", missing=missing[:MISSING_SHOWN])


def gone() -> RequestRefused:
    """Return the refusal of an upload that the store does not have any more."""
    return RequestRefused(Refusal.ENDED, "The store does not have this upload any more. Delete it and start a new one.")


def record_complete(actor: Actor, upload: Upload, now: datetime) -> None:
    """Record that all parts are in the store, and wake the operation. Only the first call changes something.

    From now on the portal has to act, not the client, so the upload does not expire.
    """
    with transaction.atomic():
        rows = Upload.objects.filter(pk=upload.pk, completed_at=None, status__in=UNFINISHED)
        values = {"completed_at": now, "touched_at": now, "received_bytes": upload.size or 0}
        if rows.update(**values, status=UploadStatus.LOADING):
            open_row = Operation.objects.open().filter(pk=upload.pk)
            open_row.update(expires_at=None)
            open_row.filter(stage=Stage.RECEIVING, bytes_total=upload.size).update(bytes_done=F("bytes_total"))
            upload.refresh_from_db()
            operations.wake(upload.operation)
            _record(actor, "upload.completed", upload)
    upload.refresh_from_db()


def reopen(upload: Upload, now: datetime) -> None:
    """Record that the client has to send parts again. It may expire again."""
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk, status__in=UNFINISHED).update(completed_at=None, touched_at=now)
        Operation.objects.open().filter(pk=upload.pk).update(expires_at=expiry(now))
    upload.completed_at, upload.touched_at = None, now


def delete_upload(actor: Actor, upload: Upload, now: datetime) -> Upload:
    """Cancel the upload, or delete its object: a worker does both. Repeating it changes nothing.

    Raises RequestRefused.
    """
    with transaction.atomic():
        lock_places(upload.operation.airline)
        rows = Upload.objects.select_related("operation__airline", "operation__user")
        upload = rows.select_for_update(of=("self",)).get(pk=upload.pk)
        if upload.status == UploadStatus.DELETED:
            return upload
        if upload.status in UNFINISHED:
            _cancel(actor, upload)
        elif upload.status == UploadStatus.UPLOADED:
            _delete_object(actor, upload, now)
        else:
            _discard_parts(actor, upload)
        Upload.objects.filter(pk=upload.pk).update(status=UploadStatus.DELETED)
        _record(actor, "upload.deleted", upload, {"status": (upload.status, UploadStatus.DELETED)})
        upload.status = UploadStatus.DELETED
    upload.operation.refresh_from_db()
    return upload


def audit_name(upload: Upload) -> str:
    """Return what the audit log calls the upload: airline, campaign or "library", and item."""
    return f"{upload.operation.airline.name}/{upload.campaign or 'library'}/{upload.item}"


def lock_places(airline: Airline) -> None:
    """Lock which names are taken at the airline until the transaction ends."""
    Airline.objects.select_for_update(no_key=True).get(pk=airline.pk)


def _require_draft(actor: Actor, airline: Airline, campaign: str) -> None:
    draft, created = Draft.objects.get_or_create(airline=airline, name=campaign)
    if created:
        audit.record(actor, "draft.added", str(draft), airline=airline)
        request_scan(draft, actor)  # the campaign may have a manifest and items already


def _create_rows(actor: Actor, airline: Airline, wanted: UploadRequest, now: datetime) -> Upload:
    """Create the rows. Raises RequestRefused if the store has too little space in all."""
    by_client = not wanted.source_url
    plan = plan_parts(wanted.size or 0) if by_client else PartPlan(0, 0, 0)
    try:
        operation = operations.submit(
            UPLOAD,
            airline,
            actor,
            wanted.title or wanted.file.name,
            bytes_total=wanted.size,
            reserved_bytes=2 * (wanted.size or 0),  # the incoming object and the one in place exist at the same time
            stage=Stage.RECEIVING if by_client else Stage.FETCHING,
            start_at=now + FIRST_SLICE_AFTER if by_client else None,
            waiting_for=WAITING_FOR_CLIENT if by_client else "",
            expires_at=expiry(now) if by_client else None,
            audited=False,
        )
    except operations.RequestRejected as error:
        raise RequestRefused(Refusal.QUOTA, str(error)) from error
    return Upload.objects.create(
        operation=operation,
        name=wanted.file.name,
        item=wanted.file.item,
        campaign=wanted.campaign,
        title=wanted.title,
        kind=wanted.kind,
        content_type=wanted.content_type,
        size=wanted.size,
        sha256=wanted.sha256,
        replace=wanted.replace,
        source_url=wanted.source_url,
        part_size=plan.part_size,
        parts_total=plan.total,
        incoming_key=names.incoming_key(airline.name, uuid.UUID(str(operation.uuid))),
        touched_at=now,
        file_modified=wanted.file_modified,
        first_part_sha256=wanted.first_part_sha256,
    )


def _cancel(actor: Actor, upload: Upload) -> None:
    try:
        operations.cancel(upload.operation, actor, audited=False)
    except operations.RequestRejected as error:
        raise RequestRefused(Refusal.BUSY, str(error)) from error


def _delete_object(actor: Actor, upload: Upload, now: datetime) -> None:
    airline, campaign, item = upload.operation.airline, upload.campaign, upload.item
    if _is_superseded(upload):
        return
    if campaign and is_published(airline, campaign, item):
        text = f"The published manifest of the campaign {campaign} names {item}. Publish the campaign without it first."
        raise RequestRefused(Refusal.PUBLISHED, text)
    if campaign:
        _remove_from_draft(airline, campaign, item)
    else:
        LibraryItem.objects.filter(airline=airline, name=item).delete()
    request_deletion(actor, upload)


def _is_superseded(upload: Upload) -> bool:
    """Return whether a later upload replaced the object, which is then not this one's."""
    later = Upload.objects.filter(object_key=upload.object_key, uploaded_at__gt=upload.uploaded_at)
    return later.exclude(pk=upload.pk).exists()


def _remove_from_draft(airline: Airline, campaign: str, item: str) -> None:
    draft = Draft.objects.filter(airline=airline, name=campaign).first()
    if draft is not None and DraftItem.objects.filter(draft=draft, name=item, in_manifest=False).delete()[0]:
        revalidate(draft, edited=True)


def _discard_parts(actor: Actor, upload: Upload) -> None:
    """Delete what a failed upload left at the store; it cannot be retried any more."""
    Operation.objects.filter(pk=upload.pk).update(can_retry=False)
    if upload.store_upload_id:
        request_deletion(actor, upload)


def _record(actor: Actor, action: str, upload: Upload, changes: audit.Changes | None = None) -> None:
    audit.record(actor, action, audit_name(upload), airline=upload.operation.airline, changes=changes)
