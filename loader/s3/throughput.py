"""Bytes per second over the last seconds, and the time that is left. Pure: the clock is the caller's."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WINDOW: Final = 10  # seconds
_MIN_SPAN: Final = 1.0  # seconds before a rate means anything


class RateMeter:
    """Not for several threads at once. Times in seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._slots: deque[list[int]] = deque()  # [second, bytes]

    def add(self, count: int, now: float) -> None:
        """So many bytes came."""
        second = int(now)
        slots = self._slots
        if slots and slots[-1][0] == second:
            slots[-1][1] += count
            return
        if slots and slots[-1][0] <= second - WINDOW:
            slots.clear()  # after a silence it begins anew
            self._since = now
        slots.append([second, count])
        while slots[0][0] <= second - WINDOW:
            slots.popleft()

    def rate(self, now: float) -> int | None:
        """Bytes a second; None while too little was seen to tell."""
        first = int(now) - WINDOW + 1
        span = now - max(self._since, first)
        if span < _MIN_SPAN:
            return None
        return round(sum(count for second, count in self._slots if second >= first) / span)


def eta(missing: int, rate: int | None) -> int | None:
    """Seconds until `missing` bytes are here at this rate; None where nobody can tell."""
    return math.ceil(missing / rate) if missing and rate else None
