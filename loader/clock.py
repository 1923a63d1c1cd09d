"""Trusted time: the local clock, as long as the store's clock agrees with it.

Between answers of the store its Date is advanced by a clock that counts from boot and cannot be set, so that a jump of
the local clock shows at once, even while the store is unreachable. Pure, except for reading that clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=15)  # a store refuses requests that are signed further away from its own time
LAG: Final = timedelta(minutes=1)  # a Date has whole seconds and is as old as its answer was on its way


def seconds_since_boot() -> float:
    """Seconds since boot, with the time in suspend where the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class StoreClock:
    """The time at the store, from the Date of its last good answer. May be used by several threads."""

    def __init__(self, elapsed: Callable[[], float] = seconds_since_boot) -> None:
        self._elapsed = elapsed
        self._last: tuple[datetime, float] | None = None

    def update(self, date: datetime | None) -> None:
        """Set it to the Date of an answer that has just come; None (no Date) changes nothing."""
        if date is not None:
            self._last = (date, self._elapsed())

    def now(self) -> datetime | None:
        """The time there (aware, UTC); None before the first answer."""
        if self._last is None:
            return None
        date, elapsed_then = self._last
        try:
            return date + timedelta(seconds=self._elapsed() - elapsed_then)
        except OverflowError:  # a Date of the year 9999
            return None


def trusted_time(local: datetime, store: datetime | None) -> datetime | None:
    """The time to remove content by; None while the store has not answered, or contradicts the local clock.

    The earlier of both clocks, so that nothing is removed before its time by either.
    """
    if store is None or abs(local - store) > TOLERANCE:
        return None
    return local if local - store <= LAG else store


def why_untrusted(local: datetime, store: datetime | None) -> str:
    """The reason why there is no trusted time; empty if there is."""
    if store is None:
        return "the store has not answered yet, so the clock here cannot be trusted"
    if abs(local - store) <= TOLERANCE:
        return ""
    direction = "ahead of" if local > store else "behind"
    return f"the clock here is {_rounded(abs(local - store))} {direction} the store's"


def _rounded(span: timedelta) -> str:
    """Rounded, so that the sentence does not change from second to second."""
    for unit, length in (("days", timedelta(days=1)), ("hours", timedelta(hours=1))):
        if span >= 2 * length:
            return f"{round(span / length):,} {unit}"
    return f"{round(span / timedelta(minutes=1))} minutes"
