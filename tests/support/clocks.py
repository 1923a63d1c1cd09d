"""Clocks that tests move: a monotonic one, and the time of the portal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone


class ManualClock:
    """Seconds; a test sets `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class StoppedClock:
    """UTC. It starts at the current time and moves only when a test moves it, however slow the machine."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    """Stop the clock of the portal, `timezone.now`, for the rest of the test."""
    clock = StoppedClock()
    monkeypatch.setattr(timezone, "now", clock)
    return clock
