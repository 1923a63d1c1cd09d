"""Bandwidth limit and minimum rate of transfers. Touches nothing; seconds of a monotonic clock, sizes in bytes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from loader.errors import Stopped

CHUNK: Final = 2 * 1024 * 1024
_MAX_READ: Final = 256 * 1024  # under a limit
_MIN_READ: Final = 4 * 1024
_RATE_CHECK: Final = 0.5  # seconds until a changed rate is noticed


class RateLimiter:
    """One token bucket over all transfers. `rate` may be changed while it is in use; None is no limit."""

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()
        self._booked_at = rate

    @property
    def read_size(self) -> int:
        """How many bytes to ask for at a time, so that a slow link is shared evenly."""
        rate = self.rate
        return CHUNK if rate is None else max(_MIN_READ, min(_MAX_READ, rate // 8))

    def delay(self, size: int) -> float:
        """Book `size` bytes and say how long to wait before taking the next. A burst is at most a quarter second."""
        rate = self.rate
        if rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            if rate != self._booked_at:
                # What was booked at another rate would hold up for long who waits after a very low one.
                self._free_at, self._booked_at = min(self._free_at, now), rate
            self._free_at = max(self._free_at, now - 0.25) + size / rate
            return max(0.0, self._free_at - now)

    def wait_for(self, size: int, stop: threading.Event) -> None:
        """Book `size` bytes just received and wait until the next may come, or the rate is another. Raises Stopped."""
        rate, wait = self.rate, self.delay(size)
        while wait > 0.0 and self.rate == rate:
            if stop.wait(min(wait, _RATE_CHECK)):
                raise Stopped
            wait -= _RATE_CHECK


class LowSpeedGuard:
    """Says when a transfer has been below `rate` bytes a second over the last `window` seconds.

    A server that sends a byte now and then never trips a read timeout.
    """

    def __init__(self, rate: int, window: float) -> None:
        self._rate, self._window = rate, window
        self._marks: deque[tuple[float, int]] = deque()

    def set_minimum(self, rate: int) -> None:
        """Another minimum from now on. What was enough until now is not held against a higher one."""
        if rate > self._rate:
            self._marks.clear()
        self._rate = rate

    def too_slow(self, now: float, total: int) -> bool:
        """Tell it the bytes received until now."""
        if not self._marks or now - self._marks[-1][0] >= self._window / 10:
            self._marks.append((now, total))
        while len(self._marks) > 1 and now - self._marks[1][0] >= self._window:
            self._marks.popleft()
        began, before = self._marks[0]
        return now - began >= self._window and total - before < self._rate * (now - began)
