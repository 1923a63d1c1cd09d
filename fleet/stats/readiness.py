"""Readiness of a campaign: how many tails in service hold it, so far and as forecast until its exhibition.

`readiness` is pure; `load_readiness` reads what it needs in two queries, below a campaign that the caller has reached
by `visible_to`. Counted are the airline's tails in service. When a tail holds it at the earliest and the latest follows
from observed rates alone (`fleet.state.forecast`); of a load that has failed, or of which no rate was seen, it is not
known.
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

POINTS: Final = 120
LONGEST: Final = timedelta(days=120)  # shown before the end
BEYOND: Final = timedelta(days=7)  # shown after the exhibition's start of what comes late
AHEAD: Final = timedelta(days=14)  # shown where no start is known


@dataclass(frozen=True, slots=True)
class TailReadiness:
    """How far a tail is: since when it holds the campaign, or between which moments it will; neither: unknown."""

    complete_at: datetime | None = None
    expected: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Numbers of tails at moments in order; None where they do not apply. `starts`: the day of the exhibition.

    `held` of `tails` hold it now; of `unknown` others it is not known when they will, `not_started` have said nothing
    of it. `by_start`: how many will hold it when the exhibition starts, at least and at most; held it, if it has begun.
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
        """A sentence for who does not see the curve."""
        said = [f"{self.complete} of {self.tails} tails in service hold it"]
        if self.by_start is not None and self.starts is not None:
            few, many = self.by_start
            some = f"{few}" if few == many else f"between {few} and {many}"
            verb = "held it" if start_of_day(self.starts) <= now else "expected"
            said.append(f"by {self.starts.isoformat()}: {some} {verb}")
        if self.unknown:
            said.append(f"{self.unknown} unknown")
        if self.not_started:
            said.append(f"{self.not_started} not begun")
        return "; ".join(said) + "."


def readiness(started: Sequence[TailReadiness], tails: int, starts: date | None, now: datetime) -> Readiness:
    """The curve. `started` are those of tails that have begun, `tails` counts all; `now` is the portal's clock."""
    held = sorted(min(each.complete_at, now) for each in started if each.complete_at is not None)
    expected = [each.expected for each in started if each.complete_at is None and each.expected is not None]
    early = sorted(max(each.earliest, now) for each in expected)
    late = sorted(max(each.latest, now) for each in expected)
    start = None if starts is None else start_of_day(starts)
    at = _moments(held, late, start, now)
    return Readiness(
        at=at,
        observed=[bisect_right(held, moment) if moment <= now else None for moment in at],
        fewest=[len(held) + bisect_right(late, moment) if moment >= now else None for moment in at],
        most=[len(held) + bisect_right(early, moment) if moment >= now else None for moment in at],
        tails=tails,
        complete=len(held),
        unknown=len(started) - len(held) - len(expected),
        not_started=max(tails - len(started), 0),
        starts=starts,
        by_start=_by_start(held, early, late, start, now),
    )


def _by_start(
    held: list[datetime], early: list[datetime], late: list[datetime], start: datetime | None, now: datetime
) -> tuple[int, int] | None:
    if start is None:
        return None
    if start <= now:
        return (bisect_right(held, start),) * 2
    return len(held) + bisect_right(late, start), len(held) + bisect_right(early, start)


def _moments(held: list[datetime], late: list[datetime], start: datetime | None, now: datetime) -> list[datetime]:
    """The moments of the curve: evenly spread, and those that matter."""
    last = late[-1] if late else held[-1] if held else now
    end = min(last, now + AHEAD if start is None else max(start, now) + BEYOND)
    end = max([end, *([start] if start is not None else []), *([now] if late or not held else [])])
    begin = max(min([*held[:1], now, *([start] if start is not None else [])]), end - LONGEST)
    begin = min(begin, end - timedelta(hours=1))
    step = (end - begin) / POINTS
    known = {begin + step * number for number in range(POINTS + 1)}
    return sorted(known | {moment for moment in (now, start) if moment is not None and begin <= moment <= end})


def load_readiness(campaign: Campaign, now: datetime) -> Readiness:
    """The curve of a campaign; two queries."""
    tails = Tail.objects.filter(airline=campaign.airline_id, duty=ServiceStatus.ACTIVE).count()
    loads = Load.objects.filter(campaign=campaign, tail__duty=ServiceStatus.ACTIVE).exclude(status=Status.DELETED)
    rows = loads.only(
        "status", "bytes_done", "bytes_total", "rate_bps", "effective_bps", "finished_at", "as_of"
    ).order_by()
    return readiness([tail_readiness(row, now) for row in rows], tails, campaign.exhibition_starts, now)


def tail_readiness(row: Load, now: datetime) -> TailReadiness:
    """How far the tail of this load is with it."""
    if row.status == Status.COMPLETE:
        return TailReadiness(complete_at=row.finished_at or row.as_of or now)
    if row.status == Status.FAILED or row.bytes_total is None:
        return TailReadiness()
    return TailReadiness(expected=forecast(row.bytes_total - row.bytes_done, row.rate_bps, row.effective_bps, now))
