"""Deletes unfinished multipart uploads and incoming objects in the media bucket that no row knows.

They remain when a process is killed between a request to the store and its row, or when a row is deleted. Touches the
bucket, and reads rows of uploads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from django.conf import settings
from django.db.models import Q

from campaigns.uploads.announcements.names import incoming_prefix
from campaigns.uploads.models import Upload
from ifeportal.models import Airline
from ifeportal.operations.models import OPEN_STATES
from ifeportal.storage.background import wait_for
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import WorldError
from loader.frozen import frozen
from loader.s3.errors import UploadGone
from loader.s3.interface import Bucket

MOST_LISTED: Final = 20_000  # entries of a listing, for each airline and run
MOST_DELETED: Final = 500  # for each airline and run; the next run continues
logger = logging.getLogger(__name__)


@frozen
class Leftover:
    """Something in the bucket below `.incoming/`: a multipart upload, or an object ("" as `upload_id`)."""

    key: str
    upload_id: str
    at: datetime


def clean_airline(airline: Airline, bucket: Bucket, now: datetime, *, lease: WorkLease = NO_LEASE) -> int:
    """Delete the leftovers of an airline, and return their number. `now` is a time that deletion may rely on.

    Raises WorldError.
    """
    cutoff = now - timedelta(seconds=settings.UPLOAD_ORPHAN_AGE)
    prefix = incoming_prefix(airline.name)
    with ThreadPoolExecutor(1, thread_name_prefix="upload-cleanup") as thread:
        found = wait_for(thread.submit(list_leftovers, bucket, prefix, cutoff), lease)
        unknown = unknown_leftovers(airline, found, now)[:MOST_DELETED]
        for each in unknown:
            wait_for(thread.submit(delete_leftover, bucket, each), lease)
    return len(unknown)


def list_leftovers(bucket: Bucket, prefix: str, cutoff: datetime) -> list[Leftover]:
    """Return the multipart uploads and objects older than `cutoff`, from a bounded part of the listings."""
    uploads = [
        Leftover(each.key, each.upload_id, each.started_at)
        for each in islice(bucket.list_uploads(prefix), MOST_LISTED)
        if each.key.startswith(prefix)
    ]
    objects = [Leftover(each.key, "", each.last_modified) for each in islice(bucket.list(prefix), MOST_LISTED)]
    return [each for each in [*uploads, *objects] if each.at < cutoff]


def unknown_leftovers(airline: Airline, found: Iterable[Leftover], now: datetime) -> list[Leftover]:
    """Return those that no upload can use any more.

    An upload uses what is at its key while it is open, and until UPLOAD_EXPIRES after it ended: a failed one can be
    retried from its parts. Of several multipart uploads of its key it uses one.
    """
    ended_after = now - timedelta(seconds=max(settings.UPLOAD_EXPIRES, settings.UPLOAD_ORPHAN_AGE))
    in_use = Q(operation__state__in=OPEN_STATES) | Q(operation__finished_at__gt=ended_after)
    rows = Upload.objects.filter(in_use, operation__airline=airline)
    known = dict(rows.values_list("incoming_key", "store_upload_id"))
    return [each for each in found if not _is_used(each, known)]


def _is_used(leftover: Leftover, known: dict[str, str]) -> bool:
    store_upload_id = known.get(leftover.key)
    if store_upload_id is None:  # beside the bytes of the client may be the packed file
        folders = {key.rpartition("/")[0] for key in known}
        return leftover.key.rpartition("/")[0] in folders
    return not leftover.upload_id or store_upload_id in ("", leftover.upload_id)


def delete_leftover(bucket: Bucket, leftover: Leftover) -> None:
    """Abort the multipart upload, or delete the object. Raises WorldError."""
    if not leftover.upload_id:
        bucket.delete(leftover.key)
        logger.warning("deleted %s of %s, which no upload knows", leftover.key, leftover.at)
        return
    try:
        bucket.resume_upload(leftover.key, leftover.upload_id).abort()
    except UploadGone:
        return
    logger.warning("aborted the multipart upload of %s, begun at %s, which no upload knows", leftover.key, leftover.at)


def clean(
    airlines: Iterable[Airline],
    bucket: Bucket,
    now: datetime,
    is_over: Callable[[], bool],
    *,
    lease: WorkLease = NO_LEASE,
) -> tuple[bool, list[str]]:
    """Clean airlines until time is over. Return whether all were cleaned, and a sentence for each that failed."""
    failures: list[str] = []
    for airline in airlines:
        if is_over():
            return False, failures
        try:
            clean_airline(airline, bucket, now, lease=lease)
        except WorldError as error:
            failures.append(f"{airline.name}: {error.code}: {error}")
    return True, failures
