"""Forecast of a load: when it will be complete, and whether in time. Pure: observed figures and a clock in, times out.

Two rates are known of a load. The *present* one rests on the last minute of change, and is gone three minutes after the
last byte. The *effective* one is counted over days, pauses included: the bytes that came since the first sample of the
span, divided by all the time since then, up to now. A restart (bytes went down) begins anew. The faster of the two says
when a load may be whole at the earliest, the slower when at the latest. Without either nothing is known, and that is
said: no rate is taken from other aircraft, from a loader's claim or from a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from fleet.state.rates import RateSample
from loader.contract.item_reports import COUNT_LIMIT

SPAN: Final = timedelta(days=5)  # of samples that the effective rate is counted over
SPAN_AT_MOST: Final = timedelta(days=7)  # only then it is counted from a later sample
MINIMUM_SPAN: Final = timedelta(minutes=1)  # to say anything of days
MAXIMUM_ETA: Final = timedelta(days=3650)  # what takes longer is said to take so long
MATERIAL_CHANGE: Final = 0.05  # an effective rate that differs by less is the same one still


@dataclass(frozen=True, slots=True)
class Forecast:
    """Between which moments a load will be whole."""

    earliest: datetime
    latest: datetime


def baseline_sample(samples: Sequence[RateSample], now: datetime) -> RateSample | None:
    """The sample (of some in order of time) from which the effective rate is counted.

    The oldest within `RANGE_SECONDS`, but none from before a restart; None without any.
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
    """Bytes per second from `since`, when `base` bytes were held, to `now`; None while that cannot be told."""
    if since is None or now - since < MINIMUM_SPAN or bytes_done < base:
        return None
    return min(int((bytes_done - base) / (now - since).total_seconds()), COUNT_LIMIT)


def differs_materially(known: int | None, found: int | None) -> bool:
    """Whether an effective rate is so far from the known one that it is worth a write."""
    if known is None or found is None:
        return known is not found
    return abs(found - known) > MATERIAL_CHANGE * max(known, found)


def forecast(remaining: int | None, rate_bps: int | None, effective_bps: int | None, now: datetime) -> Forecast | None:
    """When `remaining` bytes will have come, at these rates in bytes per second; None if that cannot be told."""
    band = eta_range(remaining, rate_bps, effective_bps)
    if band is None:
        return None
    return Forecast(now + timedelta(seconds=band[0]), now + timedelta(seconds=band[1]))


def eta_range(remaining: int | None, rate_bps: int | None, effective_bps: int | None) -> tuple[int, int] | None:
    """The least and the most seconds that `remaining` bytes will take, rounded up; None if that cannot be told."""
    if remaining is None:
        return None
    if remaining <= 0:
        return 0, 0
    limit = int(MAXIMUM_ETA.total_seconds())
    took = [min(-(-remaining // rate), limit) for rate in (rate_bps, effective_bps) if rate is not None and rate > 0]
    return (min(took), max(took)) if took else None


def start_of_day(day: date) -> datetime:
    """The moment at which a day begins, UTC."""
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True, slots=True)
class ExhibitionDates:
    """The days of a campaign's exhibition, the last one included; None: not known."""

    starts: date | None
    ends: date | None

    def is_upcoming_or_running(self, now: datetime) -> bool:
        """Whether its start is known and it is not over."""
        over = self.ends is not None and now >= start_of_day(self.ends) + timedelta(days=1)
        return self.starts is not None and not over


def is_at_risk(
    status: str, exhibition: ExhibitionDates, expected: Forecast | None, risk_before: timedelta, now: datetime
) -> bool:
    """Whether a load of that status may not be complete when its exhibition starts.

    It is if the late end of what is `expected` comes after the start. If nothing is expected, or an item has
    failed so that the rest may never come, it is once the start is nearer than `risk_before`, or past. A load that is
    complete or deleted never is, nor one whose exhibition is over or has no start.
    """
    if status in ("complete", "deleted") or exhibition.starts is None or not exhibition.is_upcoming_or_running(now):
        return False
    start = start_of_day(exhibition.starts)
    if expected is not None and expected.latest > start:
        return True
    return (expected is None or status == "failed") and start - now < risk_before
