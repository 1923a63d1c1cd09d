"""Context that all downloads share, and the observer of one download. Touches nothing by itself."""

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
    """Who wants to know, and who knows what the manifest says now."""

    def on_progress(self, bytes_done: int) -> None:
        """So many bytes are kept; called for every chunk, or some ten times a second."""

    def on_retry(self, error: WorldError, wait: float, failures: int) -> None:
        """`failures` tries in a row brought nothing; the next one comes in `wait` seconds."""

    def is_still_listed(self) -> bool:
        """Read campaign.json again: does it list the item with the same size and hash?"""

    def on_body_opened(self, body: Body | None) -> None:
        """The body now being read, so that whoever ends the loader can end a read that waits; None: done.

        Where several are read at once it is one of them, and a stop ends them all within a second by itself.
        """


def never_waits(stop: threading.Event) -> bool:
    """For a loader that does not watch its link: whatever fails is counted as a try."""
    return False


@dataclass(frozen=True)
class DownloadContext:
    """What all downloads share. `min_rate` bytes a second, averaged over `min_rate_time` seconds; 0 is no minimum.

    `flush_after`: seconds that a byte may be kept without the disk, or the state there, knowing of it. `await_link` is
    called when the network failed: it waits while the link is down and says whether it was.
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
        """What an item must bring now; a limit of our own making must not look like a slow link."""
        limit = self.limiter.rate
        return self.min_rate if limit is None else min(self.min_rate, limit // (4 * max(1, self.connections.items)))

    def check_speed(self, guard: LowSpeedGuard, total: int) -> None:
        """Raise WorldError TOO_SLOW if a transfer that received `total` bytes until now is below the minimum rate."""
        guard.set_minimum(self.current_min_rate)
        if guard.too_slow(time.monotonic(), total):
            raise WorldError(Code.TOO_SLOW, f"less than {self.min_rate} bytes a second for {self.min_rate_time:g} s")
