"""Write requested files, one after the other, under the lease of the job; delete expired ones.

A job opens the page that exports the table, as the user who requested it, so a file never contains more than the page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Final

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, StreamingHttpResponse
from django.urls import resolve
from django.utils import timezone

from ifeportal.exports.access import access_of
from ifeportal.exports.models import Export, ExportPart, ExportState
from ifeportal.exports.requests import FileRequest
from ifeportal.models import User
from ifeportal.work_lease import WorkLease

PART_SIZE: Final = 256 * 1024  # bytes of text in one stored part
FILE_LIMIT: Final = 256 * 2**20  # bytes of one file
SPACE_LIMIT: Final = 2**30  # bytes of all stored files, compressed
TIME_LIMIT: Final = 120.0  # seconds for one file; a worker is killed after 300
logger = logging.getLogger(__name__)

NO_ACCESS: Final = "You no longer have access to the page that exports this table."
NO_SPACE: Final = "The space for exports is used up. Delete exports you no longer need, or try again tomorrow."
TOO_LARGE: Final = f"The file would be larger than {FILE_LIMIT // 2**20} MiB. Narrow the filter of the page."
TOO_SLOW: Final = f"The file took longer than {TIME_LIMIT:.0f} s. Narrow the filter of the page."
GAVE_UP: Final = "Writing the file failed repeatedly. The log of the jobs says why."


class NotWritten(Exception):
    """The file cannot be written; `str()` is a sentence for the user."""


class Cancelled(Exception):
    """The user deleted the export while it was written."""


def write_next(lease: WorkLease) -> bool:
    """Delete expired exports, and write the one that has waited longest. False if none waits. Raises LeaseLost."""
    Export.objects.expired().delete()
    row = Export.objects.unfinished().due(timezone.now()).order_by("requested_at", "pk").first()
    if row is None:
        return False
    if row.attempts >= row.retry_policy.max_attempts:
        row.fail(GAVE_UP)
    elif row.begin_attempt(timezone.now(), state=ExportState.WRITING, rows=0, size=0, stored_size=0):
        _write(row, lease)
    return True


def _write(row: Export, lease: WorkLease) -> None:
    try:
        _write_parts(row, lease)
    except NotWritten as reason:
        row.fail(str(reason))
    except (Http404, PermissionDenied):
        row.fail(NO_ACCESS)
    except Cancelled:
        logger.info("export %d was cancelled", row.pk)


def _write_parts(row: Export, lease: WorkLease) -> None:
    """Write the complete file. Raises NotWritten, Cancelled, Http404, PermissionDenied, LeaseLost."""
    user = User.objects.filter(pk=row.user_id, is_active=True).first()
    if user is None:
        raise NotWritten(NO_ACCESS)
    access = access_of(user)  # before the rows: a right that is lost meanwhile is noticed at the download
    ExportPart.objects.filter(export=row).delete()  # of an attempt whose worker died
    request = FileRequest(user, row.path, row.query)
    match = resolve(row.path)
    response = match.func(request, *match.args, **match.kwargs)
    if not isinstance(response, StreamingHttpResponse):
        raise NotWritten(NO_ACCESS)
    stored = Export.objects.stored_bytes()
    end, size = time.monotonic() + TIME_LIMIT, 0
    for number, text in enumerate(_parts(response)):
        size += len(text)
        if size > FILE_LIMIT:
            raise NotWritten(TOO_LARGE)
        if time.monotonic() > end:
            raise NotWritten(TOO_SLOW)
        with transaction.atomic():
            lease.check_fence()
            if not row.add_part(number, text, request.rows, request.total):
                raise Cancelled
        if stored + Export.objects.filter(pk=row.pk).stored_bytes() > SPACE_LIMIT:
            raise NotWritten(NO_SPACE)
    row.finish(access, request.rows)


def _parts(response: StreamingHttpResponse) -> Iterator[bytes]:
    """Return the file in parts of about PART_SIZE."""
    waiting = bytearray()
    for text in response:
        waiting += text
        if len(waiting) >= PART_SIZE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
