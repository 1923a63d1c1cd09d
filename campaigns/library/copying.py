"""The operation kind `library_copy`: copies items of the library into a campaign, inside the store, and lists them.

Each item is a copy of the object with the ETag of its row, and is never put over another object. The checkpoint has
`items` (pairs of id and name that are left), `placed` (copied, not yet in the draft), `failed` (triples of id, name and
sentence), the sums `copied` and `copied_bytes`, and `current`, the multipart upload of a large item while it is copied.
A worker may be killed at any point: an object with the same bytes under the key is one that an earlier attempt copied.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.urls import reverse

from campaigns.drafts.items import BUSY_PAUSE, DraftIsBusy, PlacedItem, add_items, lock_draft
from campaigns.drafts.requests import request_scan
from campaigns.library.models import LibraryItem
from campaigns.library.requests import COPYING, LIBRARY_COPY
from campaigns.uploads.announcements.names import object_key
from campaigns.uploads.stages.comparing import has_content
from campaigns.uploads.stages.copying import SMALLEST_PART, CopyProgress, CopySource, abort_copy, copy_parts
from campaigns.uploads.stages.work import StoreWork, failure
from ifeportal import audit
from ifeportal.access import Role
from ifeportal.formatting import quantity
from ifeportal.operations.kinds import Continue, Done, Kind, Result, Slice, Wait
from ifeportal.operations.models import Operation
from ifeportal.storage.buckets import media_bucket
from loader.errors import Code, WorldError
from loader.s3.errors import UploadGone
from loader.s3.interface import Bucket

LISTED_AT_ONCE: Final = 200  # items added to the draft in one transaction: each time the whole draft is validated
NAMED: Final = 5  # items that an error names
NOT_IN_LIBRARY: Final = "The library does not have it any more."
SOURCE_CHANGED: Final = "Its object in the library changed or was deleted outside the portal. Upload the file again."
NAME_TAKEN: Final = "The campaign's folder has another object of this name. Nothing was overwritten."
ADVICE: Final = "Scan the campaign to see what its folder has, remove what is in the way, then retry."
logger = logging.getLogger(__name__)


class _Conflict(Exception):
    """The item cannot be copied; `str()` says why."""


@dataclass
class CopyWork(StoreWork):
    """One slice of work on copies into a campaign."""

    slice: Slice
    media: Bucket

    @property
    def campaign(self) -> str:
        campaign: str = self.checkpoint["campaign"]
        return campaign

    def next_item(self) -> tuple[int, str] | None:
        """Return id and name of the next item to copy."""
        items = self.checkpoint["items"]
        return (items[0][0], items[0][1]) if items else None

    def commit_item(self, **checkpoint: Any) -> None:
        """Record that the next item is done, in whatever way."""
        self.slice.commit(items=self.checkpoint["items"][1:], current=None, compare=None, **checkpoint)


def run(current: Slice) -> Result:
    """Do one slice on the media bucket of the settings."""
    return run_on(_media(), current)


def run_on(media: Bucket, current: Slice) -> Result:
    """Copy items until the slice is over, then add them to the draft. Raises OperationFailed if some failed."""
    work = CopyWork(current, media)
    while work.next_item() and len(work.checkpoint["placed"]) < LISTED_AT_ONCE:
        _copy_next(work)
        if current.is_over:
            break
    try:
        _list_placed(work)
    except DraftIsBusy as busy:
        return Wait(BUSY_PAUSE, str(busy))
    if work.next_item():
        return Continue()
    if work.checkpoint["failed"]:
        raise failure(Code.OBJECT_CHANGED, _failed_text(work.checkpoint), ADVICE, can_retry=True)
    return Done()


def _copy_next(work: CopyWork) -> None:
    pk, name = work.checkpoint["items"][0]
    item = LibraryItem.objects.filter(pk=pk, airline=work.slice.operation.airline).first()
    try:
        if item is None:
            raise _Conflict(NOT_IN_LIBRARY)
        placed = _place(work, item)
    except _Conflict as conflict:
        work.commit_item(failed=[*work.checkpoint["failed"], [pk, name, str(conflict)]])
        return
    if placed is not None and item is not None:
        done = work.checkpoint["copied_bytes"] + item.size
        work.slice.report(done)
        counts = {"copied": work.checkpoint["copied"] + 1, "copied_bytes": done}
        work.commit_item(placed=[*work.checkpoint["placed"], placed], **counts)


def _place(work: CopyWork, item: LibraryItem) -> dict[str, Any] | None:
    """Copy the object for this slice. Return what to list once it is there. Raises _Conflict, WorldError."""
    key = object_key(work.airline, work.campaign, item.name)
    source = CopySource(object_key(work.airline, "", item.name), item.etag, item.size)
    try:
        is_there = _copy_unless_taken(work, item, source, key)
    except UploadGone:
        work.slice.commit(current=None)
        is_there = _resolve_conflict(work, item, source, key) if work.call(work.media.get, key, 1) else None
    except WorldError as error:
        if error.code not in (Code.OBJECT_CHANGED, Code.OBJECT_GONE):
            raise
        is_there = _resolve_conflict(work, item, source, key)
    return _described(work, item, key) if is_there else None


def _copy_unless_taken(work: CopyWork, item: LibraryItem, source: CopySource, key: str) -> bool | None:
    """Copy, except if the name is known to be taken: only large items are worth the request that asks."""
    is_first = source.size > SMALLEST_PART and not work.checkpoint.get("current")
    if work.checkpoint.get("compare") or (is_first and work.call(work.media.get, key, 1)):
        return _resolve_conflict(work, item, source, key)
    return _copy(work, source, key)


def _copy(work: CopyWork, source: CopySource, key: str) -> bool:
    """Return whether the object is complete. Raises WorldError."""
    base, copied = work.checkpoint["copied_bytes"], CopyProgress()

    def run(copy: Callable[[threading.Event], bool]) -> bool:
        return work.run_in_thread(copy, lambda: base + copied.bytes, None, COPYING)

    if source.size <= SMALLEST_PART:
        return run(lambda stop: _copy_whole(work.media, source, key, copied))
    state = work.checkpoint.get("current") or _begin(work, key)
    target = work.media.resume_upload(key, state["upload_id"])

    def copy_large(stop: threading.Event) -> bool:
        parts = copy_parts(source, target, copied, stop)
        if parts is not None:
            target.complete(parts, if_none_match=True)
        return parts is not None

    return run(copy_large)


def _copy_whole(media: Bucket, source: CopySource, key: str, copied: CopyProgress) -> bool:
    media.copy(source.key, key, size=source.size, if_match=source.etag, if_none_match=True, progress=copied.add)
    return True


def _begin(work: CopyWork, key: str) -> dict[str, str]:
    state = {"key": key, "upload_id": work.call(work.media.begin_upload, key).upload_id}
    work.slice.commit(current=state)
    return state


def _resolve_conflict(work: CopyWork, item: LibraryItem, source: CopySource, key: str) -> bool | None:
    """Return True if the object in the way has these bytes, None if this slice could not find out.

    Raises _Conflict if it has not, or if the source is not what the library says.
    """
    if state := work.checkpoint.get("current"):
        work.call(abort_copy, work.media, state["key"], state["upload_id"])
        work.slice.commit(current=None)
    found = work.call(work.media.get, key, 1)
    # Objects with equal ETags and sizes have the same bytes; those with other ETags may have them, too.
    if found is not None and (found.etag, found.size) == (source.etag, source.size):
        return True
    same = has_content(work, found, key, source.size, item.sha256, COPYING)
    if same is not False:
        return same
    now = work.call(work.media.get, source.key, 1)
    if now is None or (now.etag, now.size) != (source.etag, source.size):
        raise _Conflict(SOURCE_CHANGED)
    if found is None:
        raise WorldError(Code.NETWORK, f"the object {key} was deleted while it was to be created")
    raise _Conflict(NAME_TAKEN)


def _described(work: CopyWork, item: LibraryItem, key: str) -> dict[str, Any]:
    """Return the item as the draft lists it. Raises WorldError if the object is not visible yet."""
    listed = work.call(lambda: next((each for each in work.media.list(key) if each.key == key), None))
    if listed is None or listed.size != item.size:
        raise WorldError(Code.NETWORK, f"the object {key} is not visible yet")
    return {
        "name": item.name,
        "size": item.size,
        "etag": listed.etag,
        "modified": listed.last_modified.isoformat(),
        "sha256": item.sha256,
        "crc32": item.crc32,
        "title": item.title,
        "kind": item.kind,
    }


def _list_placed(work: CopyWork) -> None:
    """Add the copied items to the draft. Raises DraftIsBusy."""
    placed = work.checkpoint["placed"]
    if placed:
        work.slice.commit(lambda: _write_items(work, placed), placed=[])


def _write_items(work: CopyWork, placed: list[dict[str, Any]]) -> None:
    operation = work.slice.operation
    draft, created = lock_draft(operation.airline, work.campaign)
    add_items(draft, [PlacedItem(**{**each, "modified": datetime.fromisoformat(each["modified"])}) for each in placed])
    if created:
        request_scan(draft, audit.Actor.job(operation.user))
    changes = {"items": (None, ", ".join(each["name"] for each in placed))}
    audit.record(
        audit.Actor.job(operation.user), "draft.from-library", str(draft), airline=operation.airline, changes=changes
    )


def _failed_text(checkpoint: Mapping[str, Any]) -> str:
    failed = checkpoint["failed"]
    named = " ".join(f"{name}: {sentence}" for _, name, sentence in failed[:NAMED])
    more = f" And {len(failed) - NAMED:,} more." if len(failed) > NAMED else ""
    return f"{quantity(len(failed), 'item')} of {checkpoint['items_total']:,} could not be added. {named}{more}"


def clean_up(current: Slice) -> None:
    """Remove what a cancelled operation left: the parts of the item it was copying. Copied items stay in the draft."""
    work = CopyWork(current, _media())
    if state := work.checkpoint.get("current"):
        work.call(abort_copy, work.media, state["key"], state["upload_id"])
    try:
        _list_placed(work)
    except DraftIsBusy:
        logger.info("operation %s: the next scan of the campaign lists the last copied items", current.operation)


def restart(operation: Operation) -> None:
    """Prepare a retry: the items that failed are copied after those that are left."""
    checkpoint = operation.checkpoint
    again = [[pk, name] for pk, name, _ in checkpoint["failed"]]
    merged = {**checkpoint, "items": [*checkpoint["items"], *again], "failed": [], "current": None, "compare": None}
    Operation.objects.filter(pk=operation.pk).update(checkpoint=merged)


def details(operation: Operation) -> Mapping[str, Any]:
    """Return the fields that only copies have."""
    checkpoint = operation.checkpoint
    return {
        "campaign": checkpoint["campaign"],
        "items_total": checkpoint["items_total"],
        "items_copied": checkpoint["copied"],
        "items_failed": [{"name": name, "error": sentence} for _, name, sentence in checkpoint["failed"]],
    }


def page(operation: Operation) -> str:
    return reverse("library-pick", args=[operation.airline.name, operation.checkpoint["campaign"]])


@cache
def _media() -> Bucket:
    # One per worker process, so that its connections are reused.
    return media_bucket()


KIND: Final = Kind(
    LIBRARY_COPY,
    "Copy from the library",
    run,
    role=Role.MANAGER,
    clean_up=clean_up,
    restart=restart,
    details=details,
    page=page,
)
