"""Forecast of a load: when it will be complete, and whether in time. Pure: observed figures and a clock in, times out.

Two rates of a load are known. The *current* rate is measured over the last minute of change and expires three minutes
after the last byte. The *effective* rate is counted over days, pauses included: the bytes received since the first
sample of the span, divided by the time since then. It starts again after a restart (bytes went down). The faster rate
gives the earliest time of completion, the slower one the latest. Without either rate there is no forecast: none is
taken from other aircraft, from what a loader reports, or from a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from fleet.state.rates import RateSample
from loader.contract.item_reports import COUNT_LIMIT

SPAN: Final = timedelta(days=5)  # span of the samples the effective rate is counted over
SPAN_AT_MOST: Final = timedelta(days=7)  # a longer span is cut to SPAN
MINIMUM_SPAN: Final = timedelta(minutes=1)  # a shorter span gives no effective rate
MAXIMUM_ETA: Final = timedelta(days=3650)  # longer estimates are cut to this
MATERIAL_CHANGE: Final = 0.05  # a smaller change of the effective rate is not written


@dataclass(frozen=True, slots=True)
class Forecast:
    """The earliest and the latest time at which a load will be complete."""

    earliest: datetime
    latest: datetime


def baseline_sample(samples: Sequence[RateSample], now: datetime) -> RateSample | None:
    """Return the sample from which the effective rate is counted; `samples` are in order of time.

    The oldest within `SPAN` that is not from before a restart; None if there is none.
    """
    found: RateSample | None = None
    before: RateSample | None = None
    for sample in samples:
        back = before is not None and sample.bytes_done < before.bytes_done
        if sample.at >= now - SPAN and (found is None or back):
            found = sample
        before = sample
    return found


def effective_rate(since: datetime | None, base: int, bytes_done: int, now: datetime) -> int | None:
    """Return the bytes per second from `since`, when there were `base` bytes, to `now`; None if too short to tell."""
    if since is None or now - since < MINIMUM_SPAN or bytes_done < base:
        return None
    return min(int((bytes_done - base) / (now - since).total_seconds()), COUNT_LIMIT)


def differs_materially(known: int | None, found: int | None) -> bool:
    """Return whether an effective rate differs enough from the known one to be written."""
    if known is None or found is None:
        return known is not found
    return abs(found - known) > MATERIAL_CHANGE * max(known, found)


def forecast(remaining: int | None, rate_bps: int | None, effective_bps: int | None, now: datetime) -> Forecast | None:
    """Return when `remaining` bytes will have arrived at these rates in bytes per second; None if unknown."""
    band = eta_range(remaining, rate_bps, effective_bps)
    if band is None:
        return None
    return Forecast(now + timedelta(seconds=band[0]), now + timedelta(seconds=band[1]))


def eta_range(remaining: int | None, rate_bps: int | None, effective_bps: int | None) -> tuple[int, int] | None:
    """Return the fewest and the most seconds that `remaining` bytes will take, rounded up; None if unknown."""
    if remaining is None:
        return None
    if remaining <= 0:
        return 0, 0
    limit = int(MAXIMUM_ETA.total_seconds())
    seconds = [min(-(-remaining // rate), limit) for rate in (rate_bps, effective_bps) if rate is not None and rate > 0]
    return (min(seconds), max(seconds)) if seconds else None


def start_of_day(day: date) -> datetime:
    """Return the start of a day, UTC."""
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True, slots=True)
class ExhibitionDates:
    """First and last day of a campaign's exhibition, the last one included; None: not known."""

    starts: date | None
    ends: date | None

    def is_upcoming_or_running(self, now: datetime) -> bool:
        """Return whether the start is known and the exhibition is not over."""
        over = self.ends is not None and now >= start_of_day(self.ends) + timedelta(days=1)
        return self.starts is not None and not over


def is_at_risk(
    status: str, exhibition: ExhibitionDates, expected: Forecast | None, risk_before: timedelta, now: datetime
) -> bool:
    """Return whether a load of that status may not be complete when its exhibition starts.

    True if the latest `expected` time is after the start. Without a forecast, or after an item has failed, true once
    the start is nearer than `risk_before`, or past. Never true of a load that is complete or deleted, or whose
    exhibition is over or has no start.
    """
    if status in ("complete", "deleted") or exhibition.starts is None or not exhibition.is_upcoming_or_running(now):
        return False
    start = start_of_day(exhibition.starts)
    if expected is not None and expected.latest > start:
        return True
    return (expected is None or status == "failed") and start - now < risk_before


class LoadFigures(Protocol):
    """The figures of a load that a forecast needs, named as in the model."""

    @property
    def status(self) -> str: ...
    @property
    def bytes_done(self) -> int: ...
    @property
    def bytes_total(self) -> int | None: ...
    @property
    def rate_bps(self) -> int | None: ...
    @property
    def effective_bps(self) -> int | None: ...


def forecast_load(load: LoadFigures, now: datetime) -> Forecast | None:
    """Return when a load will be complete by its own figures; None if unknown."""
    remaining = None if load.bytes_total is None else load.bytes_total - load.bytes_done
    return forecast(remaining, load.rate_bps, load.effective_bps, now)


def is_load_at_risk(load: LoadFigures, exhibition: ExhibitionDates, risk_before: timedelta, now: datetime) -> bool:
    """Return whether a load is at risk by its own figures."""
    return is_at_risk(load.status, exhibition, forecast_load(load, now), risk_before, now)
