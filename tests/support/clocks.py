"""A monotonic clock that tests advance."""

from __future__ import annotations


class ManualClock:
    """Seconds; a test sets `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
