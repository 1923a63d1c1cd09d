"""Trusted time: the local clock, as long as the store's clock agrees with it.

Between two answers of the store, the time of the last answer is advanced by the clock that counts from boot, which
cannot be set. A jump of the local clock is detected at once, even while the store is unreachable. Pure, except for
reading that clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=15)  # S3 refuses requests whose signing time differs by more than that
LAG: Final = timedelta(minutes=1)  # a Date header has a resolution of 1 s and is as old as its answer took to arrive


def seconds_since_boot() -> float:
    """Return seconds since boot, including suspend if the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class StoreClock:
    """The store's time, from the Date header of its last successful answer. Thread-safe."""

    def __init__(self, elapsed: Callable[[], float] = seconds_since_boot) -> None:
        self._elapsed = elapsed
        self._last: tuple[datetime, float] | None = None

    def update(self, date: datetime | None) -> None:
        """Set the clock to the Date of an answer that just arrived; None (no Date) changes nothing."""
        if date is not None:
            self._last = (date, self._elapsed())

    def now(self) -> datetime | None:
        """Return the store's time (aware, UTC); None before the first answer."""
        if self._last is None:
            return None
        date, elapsed_then = self._last
        try:
            return date + timedelta(seconds=self._elapsed() - elapsed_then)
        except OverflowError:  # a Date in the year 9999
            return None


def trusted_time(local: datetime, store: datetime | None) -> datetime | None:
    """Return the time for decisions to remove content; None before the store's first answer or if the clocks disagree.

    The earlier of both clocks counts, so that nothing is removed before its time by either of them.
    """
    if store is None or abs(local - store) > TOLERANCE:
        return None
    return local if local - store <= LAG else store


def best_time(local: datetime, store: datetime | None) -> datetime:
    """Return the time for decisions that remove nothing: the local clock, unless the store's contradicts it."""
    return local if store is None or abs(local - store) <= TOLERANCE else store


def why_untrusted(local: datetime, store: datetime | None) -> str:
    """Return the reason why there is no trusted time; empty if there is."""
    if store is None:
        return "the store has not answered yet, so the local clock cannot be trusted"
    if abs(local - store) <= TOLERANCE:
        return ""
    return f"the local clock is {describe_difference(local, store)} the store's"


def describe_difference(local: datetime, other: datetime) -> str:
    """Return, for example, "40 days ahead of" or "3 hours behind"."""
    return f"{_rounded(abs(local - other))} {'ahead of' if local > other else 'behind'}"


def _rounded(span: timedelta) -> str:
    """Format a time span, rounded so that the sentence does not change every second."""
    for unit, length in (("days", timedelta(days=1)), ("hours", timedelta(hours=1))):
        if span >= 2 * length:
            return f"{round(span / length):,} {unit}"
    return f"{round(span / timedelta(minutes=1))} minutes"
