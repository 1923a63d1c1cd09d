"""Readiness of a campaign: how many tails in service hold it, so far and as forecast until its exhibition.

`readiness` is pure; `load_readiness` reads its inputs in two queries, below a campaign that the caller has reached by
`visible_to`. Only tails in service are counted. The earliest and latest times are forecast from observed rates
(`fleet.state.forecast`); they are unknown for a load that has failed or has no observed rate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail
from fleet.state.forecast import Forecast, forecast, start_of_day

CURVE_POINTS: Final = 120
CURVE_LIMIT: Final = timedelta(days=120)  # of the curve, back from its end
AFTER_START: Final = timedelta(days=7)  # of the curve after the start of the exhibition, for late tails
AFTER_NOW: Final = timedelta(days=14)  # of the curve after now, if the start is unknown


@dataclass(frozen=True, slots=True)
class TailReadiness:
    """When a tail became complete, or is expected to; neither: unknown."""

    complete_at: datetime | None = None
    expected: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Numbers of tails over time; None where they do not apply. `starts`: the first day of the exhibition.

    `complete` of `tails` hold the campaign now; `unknown` have no forecast, `not_started` have reported nothing of it.
    `by_start`: the fewest and the most that hold it when the exhibition starts; observed, if it has started.
    """

    at: list[datetime]
    observed: list[int | None]
    fewest: list[int | None]
    most: list[int | None]
    tails: int
    complete: int
    unknown: int
    not_started: int
    starts: date | None
    by_start: tuple[int, int] | None

    def summary(self, now: datetime) -> str:
        """Return the curve in a sentence, for screen readers."""
        parts = [f"{self.complete} of {self.tails} tails in service hold the campaign"]
        if self.by_start is not None and self.starts is not None:
            fewest, most = self.by_start
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            outcome = "complete" if start_of_day(self.starts) <= now else "expected"
            parts.append(f"by {self.starts.isoformat()}: {count} {outcome}")
        if self.unknown:
            parts.append(f"{self.unknown} unknown")
        if self.not_started:
            parts.append(f"{self.not_started} not started")
        return "; ".join(parts) + "."


def readiness(started: Sequence[TailReadiness], tails: int, starts: date | None, now: datetime) -> Readiness:
    """Return the curve. `started` are the tails with a load, `tails` counts all; `now` is the portal's clock."""
    complete = sorted(min(each.complete_at, now) for each in started if each.complete_at is not None)
    expected = [each.expected for each in started if each.complete_at is None and each.expected is not None]
    early = sorted(max(each.earliest, now) for each in expected)
    late = sorted(max(each.latest, now) for each in expected)
    start = None if starts is None else start_of_day(starts)
    at = _moments(complete, late, start, now)
    return Readiness(
        at=at,
        observed=[bisect_right(complete, moment) if moment <= now else None for moment in at],
        fewest=[len(complete) + bisect_right(late, moment) if moment >= now else None for moment in at],
        most=[len(complete) + bisect_right(early, moment) if moment >= now else None for moment in at],
        tails=tails,
        complete=len(complete),
        unknown=len(started) - len(complete) - len(expected),
        not_started=max(tails - len(started), 0),
        starts=starts,
        by_start=_by_start(complete, early, late, start, now),
    )


def _by_start(
    complete: list[datetime], early: list[datetime], late: list[datetime], start: datetime | None, now: datetime
) -> tuple[int, int] | None:
    if start is None:
        return None
    if start <= now:
        return (bisect_right(complete, start),) * 2
    return len(complete) + bisect_right(late, start), len(complete) + bisect_right(early, start)


def _moments(complete: list[datetime], late: list[datetime], start: datetime | None, now: datetime) -> list[datetime]:
    """Return the times of the curve: evenly spread, and now and the start."""
    last = late[-1] if late else complete[-1] if complete else now
    end = min(last, now + AFTER_NOW if start is None else max(start, now) + AFTER_START)
    end = max([end, *([start] if start is not None else []), *([now] if late or not complete else [])])
    begin = max(min([*complete[:1], now, *([start] if start is not None else [])]), end - CURVE_LIMIT)
    begin = min(begin, end - timedelta(hours=1))
    step = (end - begin) / CURVE_POINTS
    known = {begin + step * number for number in range(CURVE_POINTS + 1)}
    return sorted(known | {moment for moment in (now, start) if moment is not None and begin <= moment <= end})


def load_readiness(campaign: Campaign, now: datetime) -> Readiness:
    """Return the curve of a campaign; two queries."""
    tails = Tail.objects.filter(airline=campaign.airline_id, duty=ServiceStatus.ACTIVE).count()
    loads = Load.objects.filter(campaign=campaign, tail__duty=ServiceStatus.ACTIVE).exclude(status=Status.DELETED)
    rows = loads.only(
        "status", "bytes_done", "bytes_total", "rate_bps", "effective_bps", "finished_at", "as_of"
    ).order_by()
    return readiness([tail_readiness(row, now) for row in rows], tails, campaign.exhibition_starts, now)


def tail_readiness(row: Load, now: datetime) -> TailReadiness:
    if row.status == Status.COMPLETE:
        return TailReadiness(complete_at=row.finished_at or row.as_of or now)
    if row.status == Status.FAILED or row.bytes_total is None:
        return TailReadiness()
    return TailReadiness(expected=forecast(row.bytes_total - row.bytes_done, row.rate_bps, row.effective_bps, now))
