"""Downloads one item from the media bucket into its partial file: ranges, retries, and objects that change meanwhile.

Knows nothing of campaigns, directories or reports: those are told through `DownloadObserver`. Raises WorldError when
the item has failed for now, Stopped when the loader is to end; bytes on disk stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from loader.errors import NO_ANSWER, Cause, Code, Stopped, WorldError
from loader.s3.interface import Body
from loader.s3.retry import RetryBudget
from loader.storage.partial_file import PartialFile
from loader.transfer.context import DownloadContext, DownloadObserver
from loader.transfer.parallel_download import ParallelDownload, RangesIgnored
from loader.transfer.rate_limit import LowSpeedGuard

CHANGES_LIMIT: Final = 3  # times an object may be replaced under one download


class Download:
    """Brings one part to its full size. `finish` is the caller's; see `download_item`."""

    def __init__(self, key: str, part: PartialFile, context: DownloadContext, observer: DownloadObserver) -> None:
        self._key, self._part, self._context, self._observer = key, part, context, observer
        self._budget = RetryBudget(context.backoff(), part.bytes_done)
        self._changes = 0
        self._ranges_supported = True  # until the store has shown that it knows none

    @property
    def changed(self) -> bool:
        """The object was replaced since this download began."""
        return self._changes > 0

    def run(self) -> None:
        """Until the part is whole. Raises WorldError, Stopped."""
        while not self._part.is_complete:
            try:
                with self._context.connections.track_item():
                    self._continue()
            except WorldError as error:
                if self._context.stop.is_set():
                    raise Stopped from error
                if self._part.etag:
                    self._part.save()
                else:
                    # Nothing would tell whether more bytes are of the same object.
                    self._part.discard()
                self._wait(error)

    def _wait(self, error: WorldError) -> None:
        """Decide what a failed try means: give up by raising, or return when it is time for another."""
        if error.code == Code.OBJECT_CHANGED:
            self._start_over(error)
            return
        if error.permanent or error.cause is Cause.DISK:
            raise error
        if error.code == Code.THROTTLED:
            self._context.connections.back_off()
        if error.code in NO_ANSWER and self._context.await_link(self._context.stop):
            # Only time with a link is held against an item.
            if self._context.stop.is_set():
                raise Stopped from error
            return
        wait = self._budget.next_delay(self._part.bytes_done, error.retry_after)
        if wait is None:
            raise error
        self._observer.on_retry(error, wait, self._budget.failures)
        if self._context.stop.wait(wait):
            raise Stopped from error

    def _start_over(self, error: WorldError) -> None:
        self._changes += 1
        self._part.discard()
        self._observer.on_progress(0)
        if self._changes > CHANGES_LIMIT or not self._observer.is_still_listed():
            raise error

    def _continue(self) -> None:
        """Over one connection or several, as long as nothing fails."""
        while not self._part.is_complete:
            if self._part.detached or self._wants_parallel():
                self._attempt_parallel()
            else:
                self._attempt()

    def _wants_parallel(self) -> bool:
        """Whether more than one connection should be used from here on."""
        part = self._part
        return (
            self._ranges_supported
            and bool(part.etag and part.contiguous_bytes)
            and self._context.connections.should_parallelise(part.missing)
        )

    def _attempt_parallel(self) -> None:
        try:
            ParallelDownload(self._key, self._part, self._context, self._observer, self._budget).run()
        except RangesIgnored:
            self._ranges_supported = False
            self._part.discard()
            self._observer.on_progress(0)
        except WorldError as error:
            if error.code == Code.SIZE_MISMATCH:
                self._part.discard()
            raise

    def _attempt(self) -> None:
        self._part.end_ranges()  # several connections may have ended with an error, but without a gap
        start, streams, asked = self._part.written_bytes, self._context.connections, time.monotonic()
        with (
            self._context.media.open(self._key, start=start, if_match=self._part.etag or None) as body,
            streams.track_connection(time.monotonic() - asked),
        ):
            self._observer.on_body_opened(body)
            try:
                self._check_answer(body, start)
                self._read(body)
            finally:
                self._observer.on_body_opened(None)

    def _check_answer(self, body: Body, start: int) -> None:
        """Only what continues the bytes that are kept, or starts anew."""
        size = self._part.item.size
        if body.size is not None and body.size != size:
            self._part.discard()
            raise WorldError(Code.SIZE_MISMATCH, f"the object has {body.size} bytes, campaign.json says {size}")
        if start and body.start == start:
            if body.etag != self._part.etag:
                raise WorldError(Code.OBJECT_CHANGED, "the store sent a range of another object than was asked for")
        elif body.start == 0:
            # Also when a range was asked for: a store that ignores that sends everything.
            self._part.restart(body.etag)
        else:
            raise WorldError(Code.NETWORK, f"the store answered from byte {body.start}, not from {start}")

    def _read(self, body: Body) -> None:
        part, means, size = self._part, self._context, self._part.item.size
        trickle, got = LowSpeedGuard(means.current_min_rate, means.min_rate_time), 0
        trickle.too_slow(time.monotonic(), 0)
        while part.contiguous_bytes < size:
            room = part.write_buffer(means.flush_after)
            count = body.readinto(room[: min(means.limiter.read_size, size - part.contiguous_bytes)])
            if count == 0:
                raise WorldError(Code.SHORT_BODY, f"the body ended after {part.contiguous_bytes} of {size} bytes")
            part.append(room[:count])
            got += count
            means.connections.record_bytes(count, means.limiter.rate)
            self._observer.on_progress(part.written_bytes)
            if means.stop.is_set():
                raise Stopped
            means.check_speed(trickle, got)
            means.limiter.wait_for(count, means.stop)
            if self._wants_parallel():
                part.flush()
                return
        if body.size is None and body.readinto(bytearray(1)):
            part.discard()
            raise WorldError(Code.SIZE_MISMATCH, f"the object has more than the {size} bytes that campaign.json says")


def download_item(
    key: str, part: PartialFile, context: DownloadContext, observer: DownloadObserver, finish: Callable[[], None]
) -> None:
    """Download and finish one item; what is wrong is fetched once more from the start, then the item has failed.

    `finish` checks and installs the part; it raises HASH_MISMATCH after dropping the bytes. Raises WorldError, Stopped.
    """
    for last in (False, True):
        download = Download(key, part, context, observer)
        try:
            download.run()
            finish()
            observer.on_progress(part.item.size)
        except WorldError as error:
            if error.code not in (Code.SIZE_MISMATCH, Code.HASH_MISMATCH):
                raise
            observer.on_progress(0)
            if download.changed:
                raise WorldError(Code.OBJECT_CHANGED, str(error)) from error
            if last:
                raise
            observer.on_retry(error, 0.0, 1)
        else:
            return
