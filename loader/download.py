"""One item, from the media bucket into its part: ranges, retries, what to do when the object is not what it was.

Works for one item at a time and knows nothing of campaigns, directories or reports: those are told through `Watch`.
Raises WorldError when the item has failed for now, Stopped when the loader was told to end; what is kept stays kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from loader.bucket import Body, Bucket
from loader.contract import MIB
from loader.errors import WorldError
from loader.folder import DISK_CODES
from loader.pace import CHUNK, Backoff, Limiter, Stopped, Trickle
from loader.part import Part
from loader.streams import Streams

CHANGES_LIMIT: Final = 3  # times an object may be replaced under one download


class Watch(Protocol):
    """Who wants to know, and who knows what the manifest says now."""

    def moved(self, kept: int) -> None:
        """So many bytes are kept; called for every chunk."""

    def retrying(self, error: WorldError, wait: float, failed: int) -> None:
        """The `failed`th try in a row brought nothing; the next one comes in `wait` seconds."""

    def still_wanted(self) -> bool:
        """Read campaign.json again: does it list the item with the same size and hash?"""

    def opened(self, body: Body | None) -> None:
        """The body now being read, so that whoever ends the loader can end a read that waits; None: done."""


def link_is_up(stop: threading.Event) -> bool:
    """For a loader that does not watch its link: whatever fails is counted as a try."""
    return False


@dataclass(frozen=True)
class Means:
    """What all downloads share. `min_rate` bytes a second, averaged over `min_rate_time` seconds; 0 is no minimum.

    `flush_after`: seconds that a byte may be kept without the disk, or the state there, knowing of it. `await_link` is
    called when the network failed: it waits while the link is down and says whether it was.
    """

    media: Bucket
    limiter: Limiter
    stop: threading.Event
    backoff: Callable[[], Backoff]
    min_rate: int = 4096
    min_rate_time: float = 60.0
    streams: Streams = field(default_factory=Streams)
    flush_after: float = 1.0
    await_link: Callable[[threading.Event], bool] = link_is_up


class Download:
    """Brings one part to its full size. `finish` is the caller's; see `bring`."""

    def __init__(self, key: str, part: Part, means: Means, watch: Watch) -> None:
        self._key, self._part, self._means, self._watch = key, part, means, watch
        self._changes = 0
        self._buffer = memoryview(bytearray(CHUNK))

    @property
    def changed(self) -> bool:
        """The object was replaced since this download began."""
        return self._changes > 0

    def run(self) -> None:
        """Until the part is whole. Raises WorldError, Stopped."""
        backoff, mark = self._means.backoff(), self._part.kept
        while not self._part.whole:
            try:
                self._attempt()
            except WorldError as error:
                if self._means.stop.is_set():
                    raise Stopped from error
                if self._part.etag:
                    self._part.save()
                else:
                    # Nothing would tell whether more bytes are of the same object.
                    self._part.drop()
                # A trickle of bytes between two failures is no progress: only that bounds the number of requests.
                if self._part.kept >= mark + MIB:
                    backoff.reset()
                    mark = self._part.kept
                self._wait(error, backoff)

    def _wait(self, error: WorldError, backoff: Backoff) -> None:
        """Decide what a failed try means: give up by raising, or return when it is time for another."""
        if error.code == "OBJECT_CHANGED":
            self._start_over(error)
            return
        if error.permanent or error.code in DISK_CODES:
            raise error
        if error.code == "THROTTLED":
            self._means.streams.refused()
        if error.code in ("NETWORK", "TIMEOUT") and self._means.await_link(self._means.stop):
            # Only time with a link is held against an item.
            if self._means.stop.is_set():
                raise Stopped from error
            return
        wait = backoff.again(error.retry_after)
        if wait is None:
            raise error
        self._watch.retrying(error, wait, backoff.failed)
        if self._means.stop.wait(wait):
            raise Stopped from error

    def _start_over(self, error: WorldError) -> None:
        self._changes += 1
        self._part.drop()
        self._watch.moved(0)
        if self._changes > CHANGES_LIMIT or not self._watch.still_wanted():
            raise error

    def _attempt(self) -> None:
        start, streams, asked = self._part.kept, self._means.streams, time.monotonic()
        with (
            streams.item(),
            self._means.media.open(self._key, start=start, if_match=self._part.etag or None) as body,
            streams.stream(time.monotonic() - asked),
        ):
            self._watch.opened(body)
            try:
                self._accept(body, start)
                self._read(body)
            finally:
                self._watch.opened(None)

    def _accept(self, body: Body, start: int) -> None:
        """Only what continues the bytes that are kept, or starts anew."""
        size = self._part.item.size
        if body.size is not None and body.size != size:
            self._part.drop()
            raise WorldError("SIZE_MISMATCH", f"the object has {body.size} bytes, campaign.json says {size}")
        if start and body.start == start:
            if body.etag != self._part.etag:
                raise WorldError("OBJECT_CHANGED", "the store sent a range of another object than was asked for")
        elif body.start == 0:
            # Also when a range was asked for: a store that ignores that sends everything.
            self._part.begin(body.etag)
        else:
            raise WorldError("NETWORK", f"the store answered from byte {body.start}, not from {start}")

    def _read(self, body: Body) -> None:
        part, means, size = self._part, self._means, self._part.item.size
        trickle, got = Trickle(means.min_rate, means.min_rate_time), 0
        trickle.too_slow(time.monotonic(), 0)
        while part.kept < size:
            count = body.readinto(self._buffer[: min(means.limiter.piece, size - part.kept)])
            if count == 0:
                raise WorldError("SHORT_BODY", f"the body ended after {part.kept} of {size} bytes")
            part.write(self._buffer[:count])
            got += count
            means.streams.gained(count, means.limiter.rate)
            self._watch.moved(part.kept)
            if means.stop.is_set():
                raise Stopped
            if trickle.too_slow(time.monotonic(), got):
                raise WorldError("TOO_SLOW", f"less than {means.min_rate} bytes a second for {means.min_rate_time:g} s")
            means.limiter.take(count, means.stop)
        if body.size is None and body.readinto(self._buffer[:1]):
            part.drop()
            raise WorldError("SIZE_MISMATCH", f"the object has more than the {size} bytes that campaign.json says")


def bring(key: str, part: Part, means: Means, watch: Watch, finish: Callable[[], None]) -> None:
    """Download and finish one item; what is wrong is fetched once more from the start, then the item has failed.

    `finish` checks and installs the part; it raises HASH_MISMATCH after dropping the bytes. Raises WorldError, Stopped.
    """
    for last in (False, True):
        download = Download(key, part, means, watch)
        try:
            download.run()
            finish()
        except WorldError as error:
            if error.code not in ("SIZE_MISMATCH", "HASH_MISMATCH"):
                raise
            watch.moved(0)
            if download.changed:
                raise WorldError("OBJECT_CHANGED", str(error)) from error
            if last:
                raise
            watch.retrying(error, 0.0, 1)
        else:
            return
