"""The operation that deletes an object in place, or the parts of an upload. Touches the bucket.

The rows were changed by the request. The object is deleted only if it is still the one that was uploaded.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from campaigns.uploads.announcements.occupied import DELETION
from campaigns.uploads.models import Upload, UploadStatus
from ifeportal.audit import Actor
from ifeportal.models import Airline
from ifeportal.operations import requests as operations
from ifeportal.operations.kinds import Done, Kind, Result, Slice
from ifeportal.operations.models import Lane, Operation
from ifeportal.storage.background import wait_for
from ifeportal.storage.buckets import media_bucket
from loader.contract.names import conflict_key
from loader.frozen import frozen
from loader.s3.errors import UploadGone
from loader.s3.interface import Bucket

STAGE: Final = "deleting"
logger = logging.getLogger(__name__)


@frozen
class DeletedObject:
    """An object to delete: `key` is empty if nothing is in place. `campaign` is "" for the library; size in bytes."""

    campaign: str
    item: str
    key: str
    etag: str
    size: int | None


def request_deletion(actor: Actor, upload: Upload) -> None:
    """Submit the operation. Call it in the transaction that marks the upload as deleted and records that."""
    is_in_place = upload.status == UploadStatus.UPLOADED
    left = DeletedObject(
        upload.campaign,
        upload.item,
        key=upload.object_key if is_in_place else "",
        etag=upload.object_etag,
        size=upload.object_size if is_in_place else None,
    )
    parts = {"incoming_key": upload.incoming_key, "store_upload_id": upload.store_upload_id}
    submit_deletion(actor, upload.operation.airline, left, upload=str(upload.operation.uuid), **parts)


def submit_deletion(
    actor: Actor,
    airline: Airline,
    left: DeletedObject,
    *,
    upload: str = "",
    incoming_key: str = "",
    store_upload_id: str = "",
) -> Operation:
    """Submit the operation that deletes an object, and what an upload left. `upload`: the upload's id."""
    return operations.submit(
        DELETION,
        airline,
        actor,
        f"Delete {left.item}",
        bytes_total=left.size,
        stage=STAGE,
        checkpoint={
            "upload": upload,
            "campaign": left.campaign,
            "key": conflict_key(left.item) if left.key else "",
            "object_key": left.key,
            "object_etag": left.etag,
            "incoming_key": incoming_key,
            "store_upload_id": store_upload_id,
        },
        audited=False,
    )


def run(current: Slice) -> Result:
    """Delete the object, or the parts. It may be repeated. Raises WorldError."""
    checkpoint = current.operation.checkpoint
    with ThreadPoolExecutor(1, thread_name_prefix="deletion") as thread:
        wait_for(thread.submit(delete_from_store, _media(), checkpoint), current.lease)
    current.report(current.operation.bytes_total)
    return Done()


def delete_from_store(bucket: Bucket, checkpoint: dict[str, str]) -> None:
    """Delete what the checkpoint names. Raises WorldError."""
    if checkpoint["store_upload_id"]:
        try:
            bucket.resume_upload(checkpoint["incoming_key"], checkpoint["store_upload_id"]).abort()
        except UploadGone:
            logger.info("%s: the multipart upload does not exist any more", checkpoint["incoming_key"])
    if checkpoint["incoming_key"]:
        bucket.delete(checkpoint["incoming_key"])
    if key := checkpoint["object_key"]:
        _delete_if_unchanged(bucket, key, checkpoint["object_etag"])


def _delete_if_unchanged(bucket: Bucket, key: str, etag: str) -> None:
    found = bucket.get(key, 1)
    if found is not None and etag and found.etag.lower() != etag.lower():
        logger.warning("%s was replaced since it was uploaded, so it is not deleted", key)
    elif found is not None:
        bucket.delete(key)


@cache
def _media() -> Bucket:
    # One per worker process, so that its connections are reused.
    return media_bucket()


KIND: Final = Kind(DELETION, "Deletion", run, lane=Lane.DELETION, frees_space=True)
