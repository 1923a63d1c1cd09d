"""What all downloads share, and the observer of one download. No input or output of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from loader.errors import Code, WorldError
from loader.s3.interface import Body, Bucket
from loader.s3.retry import Backoff
from loader.transfer.concurrency import ConnectionBudget
from loader.transfer.rate_limit import LowSpeedGuard, RateLimiter


class DownloadObserver(Protocol):
    """Receives the events of one download, and knows the current manifest."""

    def on_progress(self, bytes_done: int) -> None:
        """`bytes_done` bytes of the item are on disk. Called for every chunk, or about ten times a second."""

    def on_retry(self, error: WorldError, wait: float, failures: int) -> None:
        """`failures` tries in a row brought no bytes; the next one starts in `wait` seconds."""

    def is_still_listed(self) -> bool:
        """Read campaign.json again; return whether it still lists the item with the same size and hash."""

    def on_body_opened(self, body: Body | None) -> None:
        """`body` is being read now, None: no more. It can be aborted from another thread to end a blocked read.

        Of several connections this is one only; a stop ends all of them within a second.
        """


def never_waits(stop: threading.Event) -> bool:
    """For loaders that do not monitor their link: every network error counts as a failed try."""
    return False


@dataclass(frozen=True)
class DownloadContext:
    """What all downloads share. `min_rate`: bytes a second, averaged over `min_rate_time` seconds; 0: no minimum.

    `flush_after`: seconds after which a received byte is on disk and recorded there. `await_link` is called after a
    network error: it waits while the link is down and returns whether it was.
    """

    media: Bucket
    limiter: RateLimiter
    stop: threading.Event
    backoff: Callable[[], Backoff]
    min_rate: int = 4096
    min_rate_time: float = 60.0
    connections: ConnectionBudget = field(default_factory=ConnectionBudget)
    flush_after: float = 1.0
    await_link: Callable[[threading.Event], bool] = never_waits

    @property
    def current_min_rate(self) -> int:
        """The minimum rate of one item, in bytes a second. A low bandwidth limit must not count as a slow link."""
        limit = self.limiter.rate
        return self.min_rate if limit is None else min(self.min_rate, limit // (4 * max(1, self.connections.items)))

    def check_speed(self, guard: LowSpeedGuard, total: int) -> None:
        """Raise WorldError TOO_SLOW if a transfer that received `total` bytes until now is below the minimum rate."""
        guard.set_minimum(self.current_min_rate)
        if guard.too_slow(time.monotonic(), total):
            raise WorldError(Code.TOO_SLOW, f"less than {self.min_rate} bytes a second for {self.min_rate_time:g} s")
