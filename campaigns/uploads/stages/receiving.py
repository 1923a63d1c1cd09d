"""First stage: the client sends parts to the store; the worker looks which have arrived."""

from __future__ import annotations

from typing import Final

from django.conf import settings

from campaigns.uploads.models import Stage, UploadStatus
from campaigns.uploads.requests import begin, touch
from campaigns.uploads.stages.work import LOADING, SEND_AGAIN, UploadWork, failure
from ifeportal.operations.kinds import OperationFailed, Wait
from loader.errors import Code
from loader.s3.errors import UploadGone
from loader.s3.interface import MultipartUpload, UploadedPart

FIRST_PAUSE: Final = 3.0  # seconds between two looks while parts arrive
LONGEST_PAUSE: Final = 60.0
STILL_SENDING: Final = 60.0  # seconds that a slow line needs for a part
AWAITS_BYTES: Final = "Waiting for the client to send the file."
AWAITS_COMPLETION: Final = "Waiting for the client to complete the upload."


def next_pause(idle: float) -> float:
    """Return the seconds until the next look, for an upload to which nothing happened for `idle` seconds."""
    return min(max(FIRST_PAUSE, idle / 10), LONGEST_PAUSE)


def receive(work: UploadWork) -> Wait | None:
    """Record which bytes the store has. Return None once the client has completed the upload."""
    upload = work.upload
    parts = list_parts(work)
    received = sum(part.size for part in parts)
    if received != upload.received_bytes or (parts and upload.status == UploadStatus.PENDING):
        is_continued = received > upload.received_bytes
        work.set(received_bytes=received, **(LOADING if parts else {}))
        if is_continued:
            touch(upload, work.slice.now)
    total = upload.size
    done = received if total is None else min(received, total)
    work.slice.report(done, total, stage=Stage.RECEIVING)
    # Read last: what completed the upload in the meantime has found the operation running, and did not wake it.
    upload.refresh_from_db(fields=["completed_at", "touched_at"])
    if upload.completed_at:
        return None
    since = upload.touched_at or work.slice.operation.created_at
    idle = (work.slice.now - since).total_seconds()
    # Parts that are signed for hours arrive without a request: they must be noticed before the upload expires.
    pause = min(next_pause(idle), settings.UPLOAD_EXPIRES / 4)
    return Wait(pause, _reason(idle, is_begun=bool(parts), is_complete=bool(parts) and done == total))


def _reason(idle: float, *, is_begun: bool, is_complete: bool) -> str:
    """Return what is awaited; nothing is said while parts arrive."""
    if is_complete:
        return AWAITS_COMPLETION
    return "" if is_begun and idle < STILL_SENDING else AWAITS_BYTES


def list_parts(work: UploadWork) -> list[UploadedPart]:
    """Return the parts that the store has. Raises OperationFailed if the store has lost the upload."""
    multipart = attach(work)
    try:
        return work.call(multipart.list_parts)
    except UploadGone as error:
        raise parts_lost(work) from error


def attach(work: UploadWork) -> MultipartUpload:
    """Return the multipart upload; begin it if no other process has."""
    upload = work.upload
    if not upload.store_upload_id:
        begun = work.call(work.media.begin_upload, upload.incoming_key, checksums=upload.has_checksums)
        if not begin(upload, begun.upload_id):
            work.call(begun.abort)
    return work.media.resume_upload(upload.incoming_key, upload.store_upload_id, checksums=upload.has_checksums)


def parts_lost(work: UploadWork) -> OperationFailed:
    """Prepare the row for a retry, which begins another multipart upload, and return the error."""
    reset = work.write(store_upload_id="", received_bytes=0, completed_at=None)
    work.slice.commit(reset, fetch=None)
    error = "The object store no longer has the parts of this upload."
    return failure(Code.OBJECT_GONE, error, f"Retry. {SEND_AGAIN}", can_retry=True)
