"""The operation kind `upload`: from the first byte to the object in place, in stages that are each resumable.

The checkpoint says which stages are done: `incoming` (the complete object with the bytes of the client), `checked`
(its sums), `walked`, `packed`, `placed` and `listed`. A stage in progress has a value of its own there, such as `hash`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.announcements.occupied import require_free
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.refusals import RequestRefused
from campaigns.uploads.requests import UPLOAD, audit_name, expiry, lock_places
from campaigns.uploads.serialization import upload_details
from campaigns.uploads.stages import checking, completing, fetching, packing, placing, receiving, recording
from campaigns.uploads.stages.work import UploadWork
from ifeportal.access import Role
from ifeportal.operations.kinds import Continue, Done, Kind, Result, Slice, Wait
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.requests import RequestRejected
from ifeportal.storage.buckets import media_bucket
from loader.s3.interface import Bucket

Step = Callable[[UploadWork], Wait | None]


def run(current: Slice) -> Result:
    """Do one slice of the upload on the media bucket of the settings."""
    return run_on(_media(), current)


def run_on(media: Bucket, current: Slice) -> Result:
    """Do one slice of the upload: one stage after another until the slice is over."""
    upload = Upload.objects.select_related("operation").get(pk=current.operation.pk)
    work = UploadWork(current, upload, media)
    while (step := next_step(work)) is not None:
        if waiting := step(work):
            return waiting
        if current.is_over:
            return Continue()
    return Done(recording.write_end(work))


def next_step(work: UploadWork) -> Step | None:
    """Return the first stage that is not done, None if all are."""
    upload, done = work.upload, work.checkpoint
    if not done.get("incoming"):
        if upload.completed_at:
            return completing.complete
        return fetching.fetch if upload.source_url else receiving.receive
    is_archive = parse_file_name(upload.name).is_archive
    if not done.get("checked"):
        return checking.check
    if is_archive and work.slice.operation.airline.verify_archives and not done.get("walked"):
        return checking.walk
    if not is_archive and not done.get("packed"):
        return packing.pack
    if not done.get("placed"):
        return _place
    if not done.get("emptied"):
        return _empty
    return recording.add_to_draft if upload.campaign and not done.get("listed") else None


def _place(work: UploadWork) -> None:
    recording.require_spelling(work)
    placing.place(work)


def _empty(work: UploadWork) -> None:
    placing.finish_store(work)
    work.slice.commit(emptied=True)


def clean_up(current: Slice) -> None:
    """Delete what a cancelled upload left in the store. It may be repeated. Raises WorldError."""
    upload = Upload.objects.get(pk=current.operation.pk)
    placing.finish_store(UploadWork(current, upload, _media()))


def can_cancel(operation: Operation) -> bool:
    """Whether the upload may be cancelled: until the copy to its final key has begun."""
    return not (operation.checkpoint.get("place") or operation.checkpoint.get("placed"))


def can_retry(operation: Operation) -> bool:
    """Whether an upload that ended may be retried: not if someone has deleted it."""
    return bool(operation.upload.status != UploadStatus.DELETED)


def ended(operation: Operation, state: OperationState) -> None:
    """Write the status word of an upload that ended before its object was in place."""
    rows = Upload.objects.filter(pk=operation.pk).exclude(status=UploadStatus.DELETED)
    if state == OperationState.EXPIRED:  # the clean-up has deleted its parts: a retry begins again
        rows.update(status=UploadStatus.FAILED, store_upload_id="", received_bytes=0)
    else:
        rows.update(status=UploadStatus.DELETED if state == OperationState.CANCELLED else UploadStatus.FAILED)


def restart(operation: Operation) -> None:
    """Prepare the row for a retry, which continues with the first stage that is not done.

    Raises RequestRejected if another upload has taken the place in the meantime.
    """
    rows = Upload.objects.filter(pk=operation.pk)
    upload = rows.get()
    lock_places(operation.airline)
    try:
        require_free(operation.airline, upload.campaign, upload.item, replace=upload.replace, except_for=operation.pk)
    except RequestRefused as refused:
        raise RequestRejected(str(refused)) from refused
    has_bytes = bool(operation.checkpoint.get("incoming") or operation.checkpoint.get("fetch"))
    rows.update(status=UploadStatus.LOADING if has_bytes else UploadStatus.PENDING)
    if not (has_bytes or upload.completed_at or upload.source_url):
        Operation.objects.filter(pk=operation.pk).update(expires_at=expiry(timezone.now()))


def subject(operation: Operation) -> str:
    """Return what the audit log calls the upload."""
    return audit_name(operation.upload)


def status(operation: Operation) -> str:
    """Return the status word of the contract."""
    return operation.upload.status


def details(operation: Operation) -> Mapping[str, Any]:
    """Return the fields of the contract that only uploads have."""
    return upload_details(operation.upload)


def page(operation: Operation) -> str:
    """Return the address of the page of uploads."""
    return reverse("uploads")


@cache
def _media() -> Bucket:
    # One per worker process, so that its connections are reused.
    return media_bucket()


KIND: Final = Kind(
    UPLOAD,
    "Upload",
    run,
    role=Role.MANAGER,
    keeps_rows=True,
    can_cancel=can_cancel,
    can_retry=can_retry,
    clean_up=clean_up,
    ended=ended,
    restart=restart,
    subject=subject,
    status=status,
    details=details,
    page=page,
    statuses={word: Q(upload__status=word) for word in UploadStatus.values},
    related=("upload",),
)
