"""Bytes per second over the last seconds, and the remaining time. Pure: times come from the caller."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WINDOW: Final = 10  # seconds
_MIN_SPAN: Final = 1.0  # seconds before a rate is meaningful


class RateMeter:
    """Bytes per second over the last WINDOW seconds of a monotonic clock. Not thread-safe."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._slots: deque[list[int]] = deque()  # [second, bytes]

    def add(self, count: int, now: float) -> None:
        second = int(now)
        slots = self._slots
        if slots and slots[-1][0] == second:
            slots[-1][1] += count
            return
        if slots and slots[-1][0] <= second - WINDOW:
            slots.clear()  # after a pause, measure from now on
            self._since = now
        slots.append([second, count])
        while slots[0][0] <= second - WINDOW:
            slots.popleft()

    def rate(self, now: float) -> int | None:
        """Return bytes per second, None before a rate is known."""
        first = int(now) - WINDOW + 1
        span = now - max(self._since, first)
        if span < _MIN_SPAN:
            return None
        return round(sum(count for second, count in self._slots if second >= first) / span)


def eta(missing: int, rate: int | None) -> int | None:
    """Return the seconds that `missing` bytes will take at this rate, None if unknown."""
    return math.ceil(missing / rate) if missing and rate else None
