"""Calls to the store while a client of the API waits: begin a multipart upload, list its parts.

No transaction is open meanwhile. Raises WorldError.
"""

from __future__ import annotations

import logging

from campaigns.uploads.models import Upload
from campaigns.uploads.requests import begin
from loader.errors import WorldError
from loader.s3.interface import Bucket, UploadedPart

logger = logging.getLogger(__name__)


def begin_at_store(upload: Upload, bucket: Bucket) -> None:
    """Begin the multipart upload, unless it has begun. If the upload has ended meanwhile, abort it again."""
    if upload.store_upload_id:
        return
    begun = bucket.begin_upload(upload.incoming_key, checksums=upload.has_checksums)
    if not begin(upload, begun.upload_id):
        begun.abort()


def try_to_begin(upload: Upload, bucket: Bucket) -> None:
    """Begin the multipart upload; if the store fails, its operation begins it later."""
    try:
        begin_at_store(upload, bucket)
    except WorldError as error:
        logger.warning("upload %s is not begun yet: %s: %s", upload.operation.uuid, error.code, error)


def stored_parts(upload: Upload, bucket: Bucket) -> list[UploadedPart]:
    """Return the parts that the store has; none before the upload has begun."""
    if not upload.store_upload_id:
        return []
    return bucket.resume_upload(upload.incoming_key, upload.store_upload_id).list_parts()
