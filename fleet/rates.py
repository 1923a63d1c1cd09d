"""How quickly bytes arrive: samples in, rate out. Pure.

All moments are those of the portal's own clock at which it saw a change: two clocks are never subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loader.contract import COUNT_LIMIT

STALLED_AFTER: Final = timedelta(minutes=10)
RATE_HOLDS: Final = timedelta(minutes=3)  # then a rate and the time left rest on nothing any more
WINDOW: Final = timedelta(seconds=60)
MEMORY: Final = 20.0  # seconds after which an old rate weighs e times less than a new one


@dataclass(frozen=True, slots=True)
class Sample:
    """`bytes_done` as seen at a moment."""

    at: datetime
    bytes_done: int


def over_window(samples: Sequence[Sample]) -> int | None:
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
    return _rate(last.bytes_done - first.bytes_done, (last.at - first.at).total_seconds())


def smoothed(before: int | None, moved: int, seconds: float) -> int | None:
    """The new rate after `moved` more bytes in `seconds`, given the rate `before`; None after a step back."""
    if moved < 0:
        return None
    latest = _rate(moved, seconds)
    if latest is None or before is None:
        return before if latest is None else latest
    weight = math.exp(-seconds / MEMORY)
    return min(int(before * weight + latest * (1 - weight)), COUNT_LIMIT)


def _rate(moved: int, seconds: float) -> int | None:
    return min(int(moved / seconds), COUNT_LIMIT) if seconds > 0 else None


def state_of(
    status: str,
    *,
    silent: bool = False,
    stalled: bool = False,
    contradiction: str = "",
    waiting: bool = False,
    restarted: bool = False,
) -> str:
    """The one word for a row: its status, or what lies on top of `loading`, the weightiest first.

    `fleet.listing.STATE` says the same in SQL.
    """
    if status != "loading":
        return status
    on_top = {
        "silent": silent,
        "stalled": stalled,
        "contradiction": bool(contradiction),
        "waiting": waiting,
        "restarted": restarted,
    }
    return next((word for word, holds in on_top.items() if holds), status)
