"""Hashes objects of the media bucket for a draft, in slices of time, so that drafts take turns.

Reads the media bucket and writes the rows of draft items. The state of the hash is saved at the end of a slice
(`campaigns.hashing.resumable_sha256`), so a killed worker loses at most one slice. One request reads one version of an
object. Its ETag is that of the scan's listing; on stores where a GET has another ETag, the object is listed before and
after it is read. So a changed object is detected.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final

from django.db.models import Case, Value, When
from django.template.defaultfilters import pluralize

from campaigns.drafts.requests import bytes_to_read, release
from campaigns.hashing import crc32, resumable_sha256
from campaigns.models import NO_ERROR, Draft, DraftItem
from ifeportal.jobs.retries import WorkFailure
from ifeportal.operations.kinds import CancelRequested, Continue, Done, OperationFailed, Result, Slice
from loader.contract.keys import content_key
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.auth.redaction import redact
from loader.s3.interface import Bucket

MAX_SECONDS: Final = 240.0  # seconds for an item whose hash cannot be saved; workers are killed after 300
REPORT_INTERVAL: Final = 1.0  # seconds between two reports of progress, which renew the lease
CHANGED_ADVICE: Final = "Finish the upload, scan the bucket, then hash again."
ADVICE: Final = {
    Code.OBJECT_CHANGED: CHANGED_ADVICE,
    Code.OBJECT_GONE: CHANGED_ADVICE,
    Code.CREDENTIALS: "Correct the S3 credentials of the portal, then hash again.",
    Code.FORBIDDEN: "Allow the portal's S3 user to read the media bucket, then hash again.",
    Code.TOO_SLOW: "Publish the folder with the command publish_campaign, which hashes local files.",
}


def hash_items(draft: Draft, media: Bucket, work: Slice) -> Result:
    """Hash pending items of the draft until the slice is over.

    An error that another attempt cannot help is recorded at its item, and the others are hashed. Raises WorldError for
    any other, OperationFailed at the end if items could not be hashed, and what the slice raises.
    """
    done = max((work.operation.bytes_total or 0) - bytes_to_read(draft), 0)
    work.report(done, stage="Hashing")
    item = _next(draft)
    while item is not None:
        _ItemHasher(draft, item, media, work, done).run()
        if work.is_over:
            return Continue()
        done += (item.size or 0) - item.hashed_bytes
        work.report(done)
        item = _next(draft)
    _require_hashed(draft)
    return Done(partial(release, draft, hashed_at=work.now))


def _next(draft: Draft) -> DraftItem | None:
    """Return the next pending item: first one in progress, last one whose last attempt failed."""
    is_failing = Case(When(error_code="", then=Value(0)), default=Value(1))
    return draft.items.filter(hash_pending=True).order_by(is_failing, "-hashed_bytes", "position", "name").first()


def _require_hashed(draft: Draft) -> None:
    failed = draft.items.filter(included=True).exclude(error_code="")
    count, first = failed.count(), failed.first()
    if first is not None:
        error = f"{count:,} item{pluralize(count)} could not be hashed. {first.name}: {first.error}"
        code = Code(first.error_code)
        needs_scan = code in (Code.OBJECT_CHANGED, Code.OBJECT_GONE)
        raise OperationFailed(WorkFailure(code, error, first.advice), can_retry=not needs_scan)


class _ItemHasher:
    """Hashes one item for a slice. A thread reads the object; it never touches the database.

    `done`: bytes of the operation that were read before this slice of the item.
    """

    def __init__(self, draft: Draft, item: DraftItem, media: Bucket, work: Slice, done: int) -> None:
        self._item, self._media, self._work = item, media, work
        self._key = content_key(draft.airline.name, draft.name, item.name)
        self._hash = resumable_sha256.resume(item.hash_state)
        self._crc32 = item.crc32 if self._hash.count else crc32.EMPTY
        self._before = done - item.hashed_bytes
        self._stop = threading.Event()
        self._row = DraftItem.objects.filter(pk=item.pk, etag=item.etag, hash_pending=True)

    def run(self) -> None:
        """Hash until the end of the item or of the slice, and save the progress. Raises WorldError."""
        with ThreadPoolExecutor(1, thread_name_prefix="hashing") as thread:
            reading = thread.submit(self._read)
            try:
                self._watch(reading)
            except CancelRequested:
                pass  # raised again when the progress is saved
            finally:
                self._stop.set()
            while not wait([reading], timeout=REPORT_INTERVAL).done:
                self._work.lease.heartbeat()
        self._save(reading.exception())

    def _read(self) -> None:
        size, start = self._item.size or 0, self._hash.count
        if start == size and size:
            return
        with self._media.open(self._key, start=start) as body:
            if (body.size, body.start) != (size, start):
                raise _changed_error()
            is_scanned_version = body.etag == self._item.etag
            if not is_scanned_version:
                self._require_listed_etag()
            buffer = memoryview(bytearray(MIB))
            while not self._stop.is_set() and (count := body.readinto(buffer)):
                self._hash.update(buffer[:count])
                self._crc32 = crc32.update(self._crc32, buffer[:count])
        if not is_scanned_version:
            self._require_listed_etag()

    def _require_listed_etag(self) -> None:
        """Raise WorldError (OBJECT_CHANGED) unless a listing still has the ETag of the scan's listing."""
        etags = (found.etag for found in self._media.list(self._key) if found.key == self._key)
        if next(etags, None) != self._item.etag:
            raise _changed_error()

    def _watch(self, reading: Future[None]) -> None:
        """Report the progress until reading ends or time is up. Raises CancelRequested, LeaseLost."""
        end = time.monotonic() + MAX_SECONDS
        can_pause = isinstance(self._hash, resumable_sha256.ResumableSha256)
        while not wait([reading], timeout=REPORT_INTERVAL).done:
            self._work.lease.heartbeat()
            self._work.report(self._before + self._hash.count)
            self._row.update(hashed_bytes=self._hash.count)
            if (can_pause and self._work.is_over) or time.monotonic() >= end:
                return

    def _save(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, WorldError):
            raise error
        if error is not None:
            self._record_failure(error)
        elif self._hash.count == self._item.size:
            digest = {"sha256": self._hash.hexdigest(), "sha256_etag": self._item.etag, "crc32": self._crc32}
            self._write(hash_pending=False, hashed_bytes=0, hash_state="", **digest, **NO_ERROR)
        elif state := self._hash.state():
            self._write(hashed_bytes=self._hash.count, hash_state=state, crc32=self._crc32, **NO_ERROR)
        else:
            sentence = f"only {self._hash.count:,} bytes were read within {MAX_SECONDS:.0f} s"
            self._record_failure(WorldError(Code.TOO_SLOW, sentence))

    def _record_failure(self, error: WorldError) -> None:
        """Record the failure. Raises the error, with the name of the item, if another attempt may succeed."""
        advice = ADVICE.get(error.code, "")
        columns = {"error_code": error.code.value, "error": redact(str(error)), "advice": advice}
        # An item that is too slow has no state to resume from: another attempt would end the same way.
        if error.permanent or error.code == Code.TOO_SLOW:
            self._write(hash_pending=False, hashed_bytes=0, hash_state="", **columns)
            return
        self._write(hashed_bytes=self._hash.count, hash_state=self._hash.state(), crc32=self._crc32, **columns)
        raise WorldError(error.code, f"{self._item.name}: {error}", retry_after=error.retry_after) from error

    def _write(self, **columns: Any) -> None:
        self._work.commit(partial(self._update, columns))

    def _update(self, columns: dict[str, Any]) -> None:
        self._row.update(**columns)


def _changed_error() -> WorldError:
    return WorldError(Code.OBJECT_CHANGED, "the object changed since the bucket was scanned")
