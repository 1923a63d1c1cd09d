"""Limits on loading now, from the loader's settings and the queue: each may only narrow them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from loader.contract.time_window import ALWAYS, TimeWindow
from loader.contract.transfer_queue import TransferQueue


@dataclass(frozen=True, slots=True)
class EffectiveLimits:
    """`limit` and `hours` are the loader's own: bytes a second, None is no limit; `queue` None is no queue."""

    limit: int | None = None
    hours: TimeWindow = ALWAYS
    queue: TransferQueue | None = None

    @property
    def version(self) -> int | None:
        """Of the queue."""
        return self.queue.version if self.queue else None

    @property
    def paused(self) -> bool:
        """The ground wants nothing loaded."""
        return self.queue is not None and self.queue.paused

    @property
    def bandwidth_limit(self) -> int | None:
        """Bytes a second for all transfers together, None is no limit."""
        limits = (self.limit, self.queue.bandwidth_limit if self.queue else None)
        return min((limit for limit in limits if limit), default=None)

    @property
    def windows(self) -> tuple[TimeWindow, ...]:
        """All of them must be open."""
        both = (self.hours, self.queue.window if self.queue else None)
        return tuple(window for window in both if window is not None and window.spans)

    def blocked_reason(self, now: datetime) -> tuple[str, str]:
        """The state and the reason for loading nothing at `now` (aware); both empty if it is allowed."""
        if self.paused:
            return "paused", f"the ground has paused loading (queue version {self.version})"
        closed = next((window for window in self.windows if not window.is_open(now)), None)
        return ("waiting", f"outside the hours {closed}") if closed else ("", "")

    def seconds_until_closed(self, now: datetime) -> float | None:
        """Seconds until loading is not allowed any more by the hours, None if it always is."""
        changes = (window.seconds_until_change(now) for window in self.windows)
        return min((seconds for seconds in changes if seconds is not None), default=None)
