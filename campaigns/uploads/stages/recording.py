"""The rows of an upload that is in place: an item of its campaign's draft, or of the library. Touches rows only."""

from __future__ import annotations

from typing import Any

from campaigns.drafts.items import BUSY_PAUSE, DraftIsBusy, PlacedItem, add_items, lock_draft
from campaigns.drafts.requests import request_scan
from campaigns.library.models import LibraryItem
from campaigns.models import DraftItem
from campaigns.uploads.models import UploadStatus
from campaigns.uploads.stages.placing import modified_at
from campaigns.uploads.stages.work import UploadWork, failure
from ifeportal.audit import Actor
from ifeportal.operations.kinds import Wait, Write
from loader.errors import Code


def require_spelling(work: UploadWork) -> None:
    """Raise OperationFailed if another item there has a name that differs in case only: they would be in conflict."""
    airline, item, campaign = work.slice.operation.airline, work.upload.item, work.upload.campaign
    in_draft = DraftItem.objects.filter(draft__airline=airline, draft__name=campaign, size__isnull=False)
    names = (in_draft if campaign else LibraryItem.objects.filter(airline=airline)).filter(name__iexact=item)
    other = names.exclude(name=item).values_list("name", flat=True).first()
    if other is not None and not names.filter(name=item).exists():
        place = f"The campaign {campaign}" if campaign else "The library"
        error = f"{place} has an item {other}, whose name differs from {item} in case only."
        raise failure(
            Code.BAD_NAME, error, f"Upload the file as {other}, or rename the item, then retry.", can_retry=True
        )


def add_to_draft(work: UploadWork) -> Wait | None:
    """Add the item to the draft, included and hashed. Return a Wait while a job works on the draft."""
    try:
        work.slice.commit(lambda: _write_item(work), listed=True)
    except DraftIsBusy as busy:
        return Wait(BUSY_PAUSE, str(busy))
    return None


def write_end(work: UploadWork) -> Write:
    """Return the function that writes the rows at the end of the operation."""
    placed = work.checkpoint["placed"]
    columns = {
        "status": UploadStatus.UPLOADED,
        "sha256": work.checkpoint["checked"]["sha256"],
        "object_key": placed["key"],
        "object_etag": placed["etag"],
        "object_size": placed["size"],
        "object_sha256": placed["sha256"],
        "object_crc32": placed["crc32"],
        "uploaded_at": work.slice.now,
    }

    def write() -> None:
        work.write(**columns)()
        if not work.upload.campaign:
            _write_library_item(work)

    return write


def _write_library_item(work: UploadWork) -> None:
    placed, upload, operation = work.checkpoint["placed"], work.upload, work.slice.operation
    columns: dict[str, Any] = {
        "size": placed["size"],
        "etag": placed["etag"],
        "sha256": placed["sha256"],
        "crc32": placed["crc32"],
        "added_at": work.slice.now,
        "added_by": operation.user,
        **_texts(work),
    }
    LibraryItem.objects.update_or_create(airline=operation.airline, name=upload.item, defaults=columns)


def _texts(work: UploadWork) -> dict[str, str]:
    """Return title and kind, if the upload has any: another upload keeps those of the item that it replaces."""
    texts = {"title": work.upload.title, "kind": work.upload.kind}
    return {name: text for name, text in texts.items() if text}


def _write_item(work: UploadWork) -> None:
    placed, upload = work.checkpoint["placed"], work.upload
    draft, created = lock_draft(work.slice.operation.airline, upload.campaign)
    item = PlacedItem(
        upload.item,
        placed["size"],
        placed["listed_etag"],
        modified_at(placed),
        placed["sha256"],
        placed["crc32"],
        upload.title,
        upload.kind,
    )
    add_items(draft, [item])
    if created:
        request_scan(draft, Actor.job(work.slice.operation.user))
