"""Bandwidth limit and minimum rate of transfers. No input or output; seconds of a monotonic clock, sizes in bytes."""

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
    """A token bucket that all transfers share. `rate`, in bytes a second, may change at any time; None: no limit."""

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()
        self._booked_rate = rate

    @property
    def read_size(self) -> int:
        """Bytes to read at a time, few enough to share a slow link evenly."""
        rate = self.rate
        return CHUNK if rate is None else max(_MIN_READ, min(_MAX_READ, rate // 8))

    def delay(self, size: int) -> float:
        """Book `size` bytes and return the seconds to wait before reading more. Bursts last 0.25 s at most."""
        rate = self.rate
        if rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            if rate != self._booked_rate:
                # Bytes booked at a very low rate would otherwise delay the first ones at a higher rate for long.
                self._free_at, self._booked_rate = min(self._free_at, now), rate
            self._free_at = max(self._free_at, now - 0.25) + size / rate
            return max(0.0, self._free_at - now)

    def wait_for(self, size: int, stop: threading.Event) -> None:
        """Book `size` received bytes and wait until more may be read, or until the rate changes. Raises Stopped."""
        rate, wait = self.rate, self.delay(size)
        while wait > 0.0 and self.rate == rate:
            if stop.wait(min(wait, _RATE_CHECK)):
                raise Stopped
            wait -= _RATE_CHECK


class LowSpeedGuard:
    """Detects a transfer below `rate` bytes a second on average over the last `window` seconds.

    A read timeout does not detect a server that sends one byte now and then.
    """

    def __init__(self, rate: int, window: float) -> None:
        self._rate, self._window = rate, window
        self._samples: deque[tuple[float, int]] = deque()

    def set_minimum(self, rate: int) -> None:
        """Change the minimum rate. A higher one applies only to bytes from now on."""
        if rate > self._rate:
            self._samples.clear()
        self._rate = rate

    def too_slow(self, now: float, total: int) -> bool:
        """Record that `total` bytes were received until `now`; return whether that is too slow."""
        if not self._samples or now - self._samples[-1][0] >= self._window / 10:
            self._samples.append((now, total))
        while len(self._samples) > 1 and now - self._samples[1][0] >= self._window:
            self._samples.popleft()
        start, before = self._samples[0]
        return now - start >= self._window and total - before < self._rate * (now - start)
