"""Hashes objects of the media bucket for drafts, a slice at a time, so that other work gets its turn.

Touches the media bucket (reading only) and the rows of draft items. A slice that ends saves the state of its hash
(`campaigns.hashing.resumable_sha256`); a killed worker loses at most its slice. Each request asks for the object that
was seen (`If-Match`), so that a change is noticed. Drafts take turns.
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

from campaigns.drafts.requests import revalidate
from campaigns.hashing import resumable_sha256
from campaigns.models import Draft, DraftItem, DraftState
from ifeportal.jobs.retries import WorkFailure
from ifeportal.work_lease import WorkLease
from loader.contract.keys import content_key
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket

SLICE: Final = 20.0  # seconds of one item, then the next draft has its turn
MAX_SECONDS: Final = 240.0  # seconds, where a sum cannot be put aside; workers are killed after 300
ALIVE_INTERVAL: Final = 1.0  # seconds between two signs of life, and two figures for those who watch
CHANGED_ADVICE: Final = "Look into the bucket, then hash again; finish uploading first."
ADVICE: Final = {
    Code.OBJECT_CHANGED: CHANGED_ADVICE,
    Code.OBJECT_GONE: CHANGED_ADVICE,
    Code.CREDENTIALS: "Correct the portal's S3 credentials, then hash again.",
    Code.FORBIDDEN: "Let the portal's S3 user read the media bucket, then hash again.",
    Code.TOO_SLOW: "Publish it from its folder with the command publish_campaign, which hashes files.",
}


@dataclass(frozen=True, slots=True)
class HashingContext:
    """The lease, whose loss ends the work; the portal's clock; and for how many seconds to hash."""

    lease: WorkLease
    clock: Callable[[], datetime]
    seconds: float = SLICE


def hash_due_items(media: Bucket, context: HashingContext) -> bool:
    """Hash for a while; whether there is more to do."""
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
    """Of the draft whose turn it is, what was begun before, else the first."""
    turn = F("draft__last_worked_at").asc(nulls_first=True)
    due = DraftItem.objects.waiting().due(now).select_related("draft__airline")
    return due.order_by(turn, "draft_id", "-hashed_bytes", "position", "name").first()


def _finish_drafts(context: HashingContext) -> None:
    """Drafts of which nothing waits any more are no longer being hashed."""
    finished = Draft.objects.filter(state=DraftState.HASHING).exclude(items__hash_pending=True)
    for draft in finished.select_related("airline"):
        with transaction.atomic():
            context.lease.check_fence()
            if finished.filter(pk=draft.pk).start_over(state=DraftState.EDITING, rate_bps=None):
                revalidate(draft)
                _note_failures(draft)


def _note_failures(draft: Draft) -> None:
    failed = draft.items.filter(included=True).exclude(error_code="")
    count = failed.count()
    if not count:
        return
    first = failed[0]
    Draft.objects.filter(pk=draft.pk).update(
        state=DraftState.FAILED,
        error_code=first.error_code,
        error=f"{count:,} item{' was' if count == 1 else 's were'} not hashed; {first.name}: {first.error}",
        advice=first.advice,
    )


class _ItemHasher:
    """One item for a while. The request runs in a thread that never sees the database."""

    def __init__(self, item: DraftItem, media: Bucket, context: HashingContext) -> None:
        self._item, self._media, self._context = item, media, context
        self._sum = resumable_sha256.resume(item.hash_state)
        self._stop = threading.Event()
        self._row = item.current_request()

    def run(self, seconds: float) -> None:
        """Read until the end, or for so long; write down how far it came. Raises what the signs of life raise."""
        if not isinstance(self._sum, resumable_sha256.ResumableSha256):
            seconds = MAX_SECONDS
        with ThreadPoolExecutor(1, thread_name_prefix="hashing") as thread:
            reading = thread.submit(self._read)
            try:
                self._watch(reading, time.monotonic() + seconds)
            finally:
                self._stop.set()
            while not wait([reading], timeout=ALIVE_INTERVAL).done:
                self._context.lease.heartbeat()
        self._note(reading.exception())

    def _read(self) -> None:
        size = self._item.size or 0
        if self._sum.count == size and size:
            return
        draft, start = self._item.draft, self._sum.count
        key = content_key(draft.airline.name, draft.name, self._item.name)
        with self._media.open(key, start=start, if_match=self._item.etag) as body:
            if (body.etag, body.size, body.start) != (self._item.etag, size, start):
                raise WorldError(Code.OBJECT_CHANGED, "it is not the object that was seen in the bucket")
            buffer = memoryview(bytearray(MIB))
            while not self._stop.is_set() and (count := body.readinto(buffer)):
                self._sum.update(buffer[:count])

    def _watch(self, reading: Future[None], end: float) -> None:
        """Show signs of life and how far it is, until it has ended, its time is up or nobody waits for it."""
        counted, at = self._sum.count, time.monotonic()
        while not wait([reading], timeout=ALIVE_INTERVAL).done:
            self._context.lease.heartbeat()
            count, now = self._sum.count, time.monotonic()
            rate = int((count - counted) / max(now - at, 0.001))
            counted, at = count, now
            Draft.objects.filter(pk=self._item.draft_id).update(rate_bps=rate)
            if not self._row.update(hashed_bytes=count) or now >= end:
                return

    def _note(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, WorldError):
            raise error
        whole = self._sum.count == self._item.size
        with transaction.atomic():
            self._context.lease.check_fence()
            if error is not None:
                self._record_failure(error)
            elif whole:
                digest = {"sha256": self._sum.hexdigest(), "sha256_etag": self._item.etag}
                self._row.start_over(hash_pending=False, hashed_bytes=0, hash_state="", **digest)
            elif aside := self._sum.state():
                self._row.update(hashed_bytes=self._sum.count, hash_state=aside, attempts=0)
            else:
                sentence = f"{self._sum.count:,} bytes came within {MAX_SECONDS:.0f} s"
                self._record_failure(WorldError(Code.TOO_SLOW, sentence))

    def _record_failure(self, error: WorldError) -> None:
        """Give up, or write down what there is to resume from and when."""
        self._item.attempts += 1
        failure = WorkFailure.of(error, ADVICE.get(error.code, ""))
        # What came too slowly has nothing to resume from.
        if self._item.can_retry(failure) and error.code != Code.TOO_SLOW:
            left = {"hashed_bytes": self._sum.count, "hash_state": self._sum.state()}
            self._item.postpone(failure, self._context.clock(), **left)
        else:
            self._item.give_up(failure, hash_pending=False, hashed_bytes=0, hash_state="")
