"""Hashes objects of the media bucket for drafts, in slices of time, so that drafts take turns.

Reads the media bucket and writes the rows of draft items. The state of the hash is saved at the end of a slice
(`campaigns.hashing.resumable_sha256`), so a killed worker loses at most one slice. One request reads one version of an
object. Its ETag is that of the scan's listing; on stores where a GET has another ETag, the object is listed before and
after it is read. So a changed object is detected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F
from django.template.defaultfilters import pluralize

from campaigns.drafts.requests import revalidate
from campaigns.hashing import resumable_sha256
from campaigns.models import Draft, DraftItem, DraftState
from ifeportal.jobs.retries import WorkFailure
from ifeportal.work_lease import WorkLease
from loader.contract.keys import content_key
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket

SLICE: Final = 20.0  # seconds for one item before the next draft has its turn
MAX_SECONDS: Final = 240.0  # seconds for an item whose hash cannot be saved; workers are killed after 300
ALIVE_INTERVAL: Final = 1.0  # seconds between two heartbeats of the lease and updates of the progress
CHANGED_ADVICE: Final = "Finish the upload, scan the bucket, then hash again."
ADVICE: Final = {
    Code.OBJECT_CHANGED: CHANGED_ADVICE,
    Code.OBJECT_GONE: CHANGED_ADVICE,
    Code.CREDENTIALS: "Correct the S3 credentials of the portal, then hash again.",
    Code.FORBIDDEN: "Allow the portal's S3 user to read the media bucket, then hash again.",
    Code.TOO_SLOW: "Publish the folder with the command publish_campaign, which hashes local files.",
}


@dataclass(frozen=True, slots=True)
class HashingContext:
    """The lease, whose loss ends the work; the clock of the portal; the seconds to hash for."""

    lease: WorkLease
    clock: Callable[[], datetime]
    seconds: float = SLICE


def hash_due_items(media: Bucket, context: HashingContext) -> bool:
    """Hash due items for `context.seconds`. Return whether more are due."""
    end = time.monotonic() + context.seconds
    while (left := end - time.monotonic()) > 0:
        _finish_drafts(context)
        item = _next(context.clock())
        if item is None:
            break
        Draft.objects.filter(pk=item.draft_id).update(last_worked_at=context.clock())
        _ItemHasher(item, media, context).run(left)
    _finish_drafts(context)
    return _next(context.clock()) is not None


def _next(now: datetime) -> DraftItem | None:
    """Return the next due item of the draft that waited longest; an item in progress comes first."""
    turn = F("draft__last_worked_at").asc(nulls_first=True)
    due = DraftItem.objects.waiting().due(now).select_related("draft__airline")
    return due.order_by(turn, "draft_id", "-hashed_bytes", "position", "name").first()


def _finish_drafts(context: HashingContext) -> None:
    """End the hashing of drafts that have no pending item."""
    finished = Draft.objects.filter(state=DraftState.HASHING).exclude(items__hash_pending=True)
    for draft in finished.select_related("airline"):
        with transaction.atomic():
            context.lease.check_fence()
            if finished.filter(pk=draft.pk).start_over(
                state=DraftState.EDITING, rate_bps=None, hashed_at=context.clock()
            ):
                revalidate(draft)
                _record_failed_items(draft)


def _record_failed_items(draft: Draft) -> None:
    failed = draft.items.filter(included=True).exclude(error_code="")
    count = failed.count()
    if not count:
        return
    first = failed[0]
    Draft.objects.filter(pk=draft.pk).update(
        state=DraftState.FAILED,
        error_code=first.error_code,
        error=f"{count:,} item{pluralize(count)} could not be hashed. {first.name}: {first.error}",
        advice=first.advice,
    )


class _ItemHasher:
    """Hashes one item for a slice. A thread reads the object; it never touches the database."""

    def __init__(self, item: DraftItem, media: Bucket, context: HashingContext) -> None:
        self._item, self._media, self._context = item, media, context
        self._hash = resumable_sha256.resume(item.hash_state)
        self._stop = threading.Event()
        self._row = item.current_request()

    def run(self, seconds: float) -> None:
        """Hash until the end or for `seconds`, and save the progress. Raises what the heartbeat raises."""
        if not isinstance(self._hash, resumable_sha256.ResumableSha256):
            seconds = MAX_SECONDS
        with ThreadPoolExecutor(1, thread_name_prefix="hashing") as thread:
            reading = thread.submit(self._read)
            try:
                self._watch(reading, time.monotonic() + seconds)
            finally:
                self._stop.set()
            while not wait([reading], timeout=ALIVE_INTERVAL).done:
                self._context.lease.heartbeat()
        self._save(reading.exception())

    def _read(self) -> None:
        size = self._item.size or 0
        if self._hash.count == size and size:
            return
        draft, start = self._item.draft, self._hash.count
        key = content_key(draft.airline.name, draft.name, self._item.name)
        with self._media.open(key, start=start) as body:
            if (body.size, body.start) != (size, start):
                raise _changed_error()
            is_scanned_version = body.etag == self._item.etag
            if not is_scanned_version:
                self._require_listed_etag(key)
            buffer = memoryview(bytearray(MIB))
            while not self._stop.is_set() and (count := body.readinto(buffer)):
                self._hash.update(buffer[:count])
        if not is_scanned_version:
            self._require_listed_etag(key)

    def _require_listed_etag(self, key: str) -> None:
        """Raise WorldError (OBJECT_CHANGED) unless a listing still has the ETag of the scan's listing."""
        etags = (found.etag for found in self._media.list(key) if found.key == key)
        if next(etags, None) != self._item.etag:
            raise _changed_error()

    def _watch(self, reading: Future[None], end: float) -> None:
        """Send heartbeats and record the progress until reading ends, time is up, or the request is withdrawn."""
        last_count, last_time = self._hash.count, time.monotonic()
        while not wait([reading], timeout=ALIVE_INTERVAL).done:
            self._context.lease.heartbeat()
            count, now = self._hash.count, time.monotonic()
            rate = int((count - last_count) / max(now - last_time, 0.001))
            last_count, last_time = count, now
            worked_at = self._context.clock()
            Draft.objects.filter(pk=self._item.draft_id).update(rate_bps=rate, last_worked_at=worked_at)
            if not self._row.update(hashed_bytes=count) or now >= end:
                return

    def _save(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, WorldError):
            raise error
        complete = self._hash.count == self._item.size
        with transaction.atomic():
            self._context.lease.check_fence()
            if error is not None:
                self._record_failure(error)
            elif complete:
                digest = {"sha256": self._hash.hexdigest(), "sha256_etag": self._item.etag}
                self._row.start_over(hash_pending=False, hashed_bytes=0, hash_state="", **digest)
            elif state := self._hash.state():
                self._row.update(hashed_bytes=self._hash.count, hash_state=state, attempts=0)
            else:
                sentence = f"only {self._hash.count:,} bytes were read within {MAX_SECONDS:.0f} s"
                self._record_failure(WorldError(Code.TOO_SLOW, sentence))

    def _record_failure(self, error: WorldError) -> None:
        """Record the failure, with the state to resume from if there is another attempt."""
        self._item.attempts += 1
        failure = WorkFailure.of(error, ADVICE.get(error.code, ""))
        progress = {"hashed_bytes": self._hash.count, "hash_state": self._hash.state()}
        # An item that is too slow has no state to resume from: another attempt would end the same way.
        if error.code == Code.TOO_SLOW or not self._item.postpone(failure, self._context.clock(), **progress):
            self._item.give_up(failure, hash_pending=False, hashed_bytes=0, hash_state="")


def _changed_error() -> WorldError:
    return WorldError(Code.OBJECT_CHANGED, "the object changed since the bucket was scanned")
