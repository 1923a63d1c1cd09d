"""Progress of an operation: monotonic within a stage, with a smoothed rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import exp
from typing import Final

SMOOTHING: Final = 8.0  # seconds: a rate that lasted this long has about two thirds of the weight


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of the current stage; `total` None while unknown. `rate` in bytes per second; None while unknown.

    `at` (UTC): when `done` was recorded.
    """

    stage: str = ""
    done: int = 0
    total: int | None = None
    rate: int | None = None
    at: datetime | None = None

    def advance(self, done: int | None, total: int | None, stage: str | None, now: datetime) -> Progress:
        """Return the progress after a report.

        A new stage starts from `done` (0 if None), with the same total unless a new one is given. Within a stage
        neither `done` nor the share of the total falls: what would lower them is ignored.
        """
        if stage is not None and stage != self.stage:
            return _clamp(Progress(stage, done or 0, self.total if total is None else total, None, now))
        new = _clamp(replace(self, done=max(self.done, done or 0), total=self.total if total is None else total))
        if _share(new) < _share(self):
            new = replace(new, total=self.total)
        return replace(_clamp(new), rate=self._rate(new.done, now), at=now)

    def _rate(self, done: int, now: datetime) -> int | None:
        """Return the smoothed rate: an average that weighs each moment less the longer ago it was."""
        if self.at is None:
            return None
        seconds = (now - self.at).total_seconds()
        if seconds <= 0:
            return self.rate
        current = (done - self.done) / seconds
        if self.rate is None:
            return round(current)
        weight = 1 - exp(-seconds / SMOOTHING)
        return round(self.rate + (current - self.rate) * weight)


def _clamp(progress: Progress) -> Progress:
    """Raise a total that is smaller than what is done: more bytes arrived than were announced."""
    if progress.total is None or progress.total >= progress.done:
        return progress
    return replace(progress, total=progress.done)


def _share(progress: Progress) -> float:
    return progress.done / progress.total if progress.total else 0.0
