"""Current limits on loading, from the loader's settings and the queue; the stricter one counts. Pure."""

from __future__ import annotations

from datetime import datetime

from loader.contract.time_window import ALWAYS, TimeWindow
from loader.contract.transfer_queue import TransferQueue
from loader.frozen import frozen


@frozen
class EffectiveLimits:
    """Combines the loader's own `limit` (bytes a second; None: no limit) and `hours` with those of the queue."""

    limit: int | None = None
    hours: TimeWindow = ALWAYS
    queue: TransferQueue | None = None

    @property
    def version(self) -> int | None:
        return self.queue.version if self.queue else None

    @property
    def paused(self) -> bool:
        return self.queue is not None and self.queue.paused

    @property
    def bandwidth_limit(self) -> int | None:
        """Bytes a second for all transfers together; None: no limit."""
        limits = (self.limit, self.queue.bandwidth_limit if self.queue else None)
        return min((limit for limit in limits if limit), default=None)

    @property
    def windows(self) -> tuple[TimeWindow, ...]:
        """Time windows, all of which must be open."""
        both = (self.hours, self.queue.window if self.queue else None)
        return tuple(window for window in both if window is not None and window.spans)

    def blocked_reason(self, now: datetime) -> tuple[str, str]:
        """Return state and reason for loading nothing at `now` (aware); both are empty if loading is allowed."""
        if self.paused:
            return "paused", f"loading is paused by transfer queue version {self.version}"
        closed = next((window for window in self.windows if not window.is_open(now)), None)
        return ("waiting", f"outside the hours {closed}") if closed else ("", "")

    def seconds_until_closed(self, now: datetime) -> float | None:
        """Return the seconds until a window changes; None if loading is allowed at any time."""
        changes = (window.seconds_until_change(now) for window in self.windows)
        return min((seconds for seconds in changes if seconds is not None), default=None)
