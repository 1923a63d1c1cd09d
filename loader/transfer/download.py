"""Downloads one item from the media bucket into its partial file: ranges, retries, and objects that are replaced.

Campaigns and reports are the business of the `DownloadObserver`. Raises WorldError when the item has failed for now,
Stopped when the download was cancelled. In both cases the bytes on disk stay.
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
from loader.transfer.same_object import ObjectReplaced, check_same_object, date_text, identifies_object, is_same_object

CHANGES_LIMIT: Final = 3  # times an object may be replaced under one download


class Download:
    """Downloads until one partial file has its full size. `download_item` checks and installs it."""

    def __init__(self, key: str, part: PartialFile, context: DownloadContext, observer: DownloadObserver) -> None:
        self._key, self._part, self._context, self._observer = key, part, context, observer
        self._budget = RetryBudget(context.backoff(), part.bytes_done)
        self._changes = 0
        self._ranges_supported = True  # until the store answers one with the complete object
        self._conditional = True  # until the store refuses a condition that may well be fulfilled

    @property
    def changed(self) -> bool:
        """True if the object was replaced since this download began."""
        return self._changes > 0

    def run(self) -> None:
        """Download until all bytes are there. Raises WorldError, Stopped."""
        while not self._part.is_complete:
            try:
                with self._context.connections.track_item():
                    self._continue()
            except WorldError as error:
                if self._context.stop.is_set():
                    raise Stopped from error
                if identifies_object(self._part):
                    self._part.save()
                else:
                    # More bytes could come from another object unnoticed.
                    self._part.discard()
                self._wait(error)

    def _wait(self, error: WorldError) -> None:
        """Raise if the error is final; otherwise return when it is time for the next try."""
        if error.code == Code.OBJECT_CHANGED:
            self._handle_change(error)
            return
        if error.permanent or error.cause is Cause.DISK:
            raise error
        if error.code == Code.THROTTLED:
            self._context.connections.back_off()
        if error.code in NO_ANSWER and self._context.await_link(self._context.stop):
            # Tries without a link do not count.
            if self._context.stop.is_set():
                raise Stopped from error
            return
        wait = self._budget.next_delay(self._part.bytes_done, error.retry_after)
        if wait is None:
            raise error
        self._observer.on_retry(error, wait, self._budget.failures)
        if self._context.stop.wait(wait):
            raise Stopped from error

    def _handle_change(self, error: WorldError) -> None:
        """Start over, unless the object is the same: some stores refuse every If-Match. Raises WorldError, Stopped."""
        try:
            if self._condition and not isinstance(error, ObjectReplaced) and self._is_unchanged():
                self._conditional = False
                return
        except WorldError as failure:
            if not failure.permanent:
                self._wait(failure)
                return
        self._start_over(error)

    def _is_unchanged(self) -> bool:
        with self._context.media.open(self._key, start=0, end=1) as body:
            return is_same_object(self._part, body)

    def _start_over(self, error: WorldError) -> None:
        self._changes += 1
        self._conditional = True
        self._part.discard()
        self._observer.on_progress(0)
        if self._changes > CHANGES_LIMIT or not self._observer.is_still_listed():
            raise error

    def _continue(self) -> None:
        """Download over one connection or several until an error or the end."""
        while not self._part.is_complete:
            if self._part.detached or self._wants_parallel():
                self._attempt_parallel()
            else:
                self._attempt()

    def _wants_parallel(self) -> bool:
        """Return whether to use several connections from here on."""
        part = self._part
        return (
            self._ranges_supported
            and bool(identifies_object(part) and part.contiguous_bytes)
            and self._context.connections.should_parallelise(part.missing)
        )

    @property
    def _condition(self) -> str | None:
        return self._part.etag if self._conditional and self._part.etag else None

    def _attempt_parallel(self) -> None:
        try:
            ParallelDownload(
                self._key, self._part, self._context, self._observer, self._budget, if_match=self._condition
            ).run()
        except RangesIgnored:
            self._ranges_supported = False
            self._part.discard()
            self._observer.on_progress(0)
        except WorldError as error:
            if error.code == Code.SIZE_MISMATCH:
                self._part.discard()
            raise

    def _attempt(self) -> None:
        self._part.end_ranges()  # several connections may have failed without leaving a gap
        start, connections, requested_at = self._part.written_bytes, self._context.connections, time.monotonic()
        with (
            self._context.media.open(self._key, start=start, if_match=self._condition) as body,
            connections.track_connection(time.monotonic() - requested_at),
        ):
            self._observer.on_body_opened(body)
            try:
                self._check_answer(body, start)
                self._read(body)
            finally:
                self._observer.on_body_opened(None)

    def _check_answer(self, body: Body, start: int) -> None:
        """Raise WorldError unless the body continues the bytes on disk or starts at 0."""
        size = self._part.item.size
        if body.size is not None and body.size != size:
            self._part.discard()
            raise WorldError(Code.SIZE_MISMATCH, f"the object has {body.size} bytes, campaign.json says {size}")
        if start and body.start == start:
            check_same_object(self._part, body)
        elif body.start == 0:
            # Also after a request for a range: a store may ignore it and send the complete object (RFC 9110, 14.2).
            self._part.restart(body.etag, date_text(body))
        else:
            raise WorldError(Code.NETWORK, f"the store answered from byte {body.start}, not from {start}")

    def _read(self, body: Body) -> None:
        part, context, size = self._part, self._context, self._part.item.size
        guard, received = LowSpeedGuard(context.current_min_rate, context.min_rate_time), 0
        guard.too_slow(time.monotonic(), 0)
        while part.contiguous_bytes < size:
            buffer = part.write_buffer(context.flush_after)
            count = body.readinto(buffer[: min(context.limiter.read_size, size - part.contiguous_bytes)])
            if count == 0:
                raise WorldError(Code.SHORT_BODY, f"the body ended after {part.contiguous_bytes} of {size} bytes")
            part.append(buffer[:count])
            received += count
            context.connections.record_bytes(count, context.limiter.rate)
            self._observer.on_progress(part.written_bytes)
            if context.stop.is_set():
                raise Stopped
            context.check_speed(guard, received)
            context.limiter.wait_for(count, context.stop)
            if self._wants_parallel():
                part.flush()
                return
        if body.size is None and body.readinto(bytearray(1)):
            part.discard()
            raise WorldError(Code.SIZE_MISMATCH, f"the object has more than the {size} bytes that campaign.json says")


def download_item(
    key: str, part: PartialFile, context: DownloadContext, observer: DownloadObserver, finish: Callable[[], None]
) -> None:
    """Download and finish one item. If its size or hash is wrong, download it once more from the start.

    `finish` checks and installs the part; it raises HASH_MISMATCH after discarding it. Raises WorldError, Stopped.
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
