"""Transfer rates: bytes per second from samples, over a window and smoothed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loader.contract.item_reports import COUNT_LIMIT

RATE_VALID_FOR: Final = timedelta(minutes=3)  # then a rate and the time left rest on nothing any more
WINDOW: Final = timedelta(seconds=60)
SMOOTHING_SECONDS: Final = 20.0  # seconds after which an old rate weighs e times less than a new one


@dataclass(frozen=True, slots=True)
class RateSample:
    """`bytes_done` as seen at a moment."""

    at: datetime
    bytes_done: int


def windowed_rate(samples: Sequence[RateSample]) -> int | None:
    """Bytes per second from the oldest to the newest of `samples` (in order of time); None if they cannot tell.

    A restart (bytes went down) begins anew: what was before says nothing of what comes.
    """
    since = 0
    for index in range(1, len(samples)):
        if samples[index].bytes_done < samples[index - 1].bytes_done:
            since = index
    if len(samples) - since < 2:
        return None
    first, last = samples[since], samples[-1]
    return _bytes_per_second(last.bytes_done - first.bytes_done, (last.at - first.at).total_seconds())


def smoothed_rate(before: int | None, moved: int, seconds: float) -> int | None:
    """The new rate after `moved` more bytes in `seconds`, given the rate `before`; None after a step back."""
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
    """Whether a rate still holds that rests on a byte seen at `moved_at`."""
    return moved_at is not None and now - moved_at < RATE_VALID_FOR
