"""Transfer rates: bytes per second from samples, over a window and smoothed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loader.contract.item_reports import COUNT_LIMIT

RATE_VALID_FOR: Final = timedelta(minutes=3)  # after the last byte; then rate and time left are unknown
WINDOW: Final = timedelta(seconds=60)
SMOOTHING_SECONDS: Final = 20.0  # time constant: after it an old rate weighs 1/e


@dataclass(frozen=True, slots=True)
class RateSample:
    """`bytes_done` at a time."""

    at: datetime
    bytes_done: int


def windowed_rate(samples: Sequence[RateSample]) -> int | None:
    """Return bytes per second from the oldest to the newest of `samples` (in order of time); None if unknown.

    Samples before a restart (bytes went down) are ignored: they predict nothing.
    """
    start = 0
    for index in range(1, len(samples)):
        if samples[index].bytes_done < samples[index - 1].bytes_done:
            start = index
    if len(samples) - start < 2:
        return None
    first, last = samples[start], samples[-1]
    return _bytes_per_second(last.bytes_done - first.bytes_done, (last.at - first.at).total_seconds())


def smoothed_rate(before: int | None, moved: int, seconds: float) -> int | None:
    """Return the rate after `moved` bytes more in `seconds`, smoothed with the rate before; None if bytes went down."""
    if moved < 0:
        return None
    latest = _bytes_per_second(moved, seconds)
    if latest is None or before is None:
        return before if latest is None else latest
    weight = math.exp(-seconds / SMOOTHING_SECONDS)
    return min(int(before * weight + latest * (1 - weight)), COUNT_LIMIT)


def _bytes_per_second(moved: int, seconds: float) -> int | None:
    return min(int(moved / seconds), COUNT_LIMIT) if seconds > 0 else None


def is_rate_current(moved_at: datetime | None, now: datetime) -> bool:
    """Return whether a rate whose last byte was seen at `moved_at` is still valid."""
    return moved_at is not None and now - moved_at < RATE_VALID_FOR
