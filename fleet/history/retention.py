"""Retention of samples and events. Running it twice, or beside writers, changes nothing more.

Samples: all of the last hour, one per minute for two days, one per hour for a year; the last of a minute or an hour
stays, so that the figure at its end is right, and so does the newest of a load. `retained` is the rule in Python;
`thin_samples` has the database delete the others, a bounded number per transaction. Events: the newest thousand of a
load, none older than 400 days.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from django.db.models import Count, Exists, F, Max, OuterRef, QuerySet, Window
from django.db.models.functions import RowNumber, TruncHour, TruncMinute

from fleet.models import Event, ProgressSample
from ifeportal.work_lease import NO_LEASE, WorkLease

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FULL_RESOLUTION_FOR: Final = timedelta(hours=1)
MINUTE_RESOLUTION_FOR: Final = timedelta(days=2)
HOUR_RESOLUTION_FOR: Final = timedelta(days=365)
ROWS_A_STATEMENT: Final = 10_000  # checked; more only if one load has more in the span
Samples = QuerySet[ProgressSample]


@dataclass(frozen=True, slots=True)
class RetentionCuts:
    """Samples before `end` are deleted; before `hours` one per hour stays, before `minutes` one per minute."""

    end: datetime
    hours: datetime
    minutes: datetime


def retention_cuts(now: datetime) -> RetentionCuts:
    """Return the cuts at full hours and minutes, so that none is thinned before it is over. `now` in UTC."""
    return RetentionCuts(
        now - HOUR_RESOLUTION_FOR,
        _truncate(now - MINUTE_RESOLUTION_FOR, HOUR),
        _truncate(now - FULL_RESOLUTION_FOR, MINUTE),
    )


def retained(moments: Collection[datetime], now: datetime) -> set[datetime]:
    """Return the samples of a load that stay, by time."""
    at = retention_cuts(now)
    last: dict[tuple[timedelta, datetime], datetime] = {}
    for moment in sorted(moments):
        if moment < at.hours:
            last[HOUR, _truncate(moment, HOUR)] = moment
        elif moment < at.minutes:
            last[MINUTE, _truncate(moment, MINUTE)] = moment
        else:
            last[timedelta(), moment] = moment
    newest = max(moments, default=None)
    return {moment for moment in last.values() if moment >= at.end or moment == newest}


def _truncate(moment: datetime, unit: timedelta) -> datetime:
    moment = moment.replace(second=0, microsecond=0)
    return moment.replace(minute=0) if unit == HOUR else moment


def thin_samples(now: datetime, since: datetime | None = None, *, lease: WorkLease = NO_LEASE) -> int:
    """Delete the samples that do not stay; return how many.

    `since`: when this was last done, so that only samples that crossed a cut since then are checked; None: all.
    """
    at, before = retention_cuts(now), retention_cuts(since) if since is not None else None
    old = _between(None, at.end)  # those left were the newest of their load, and may no longer be
    hours = _between(before.hours if before else None, at.hours)
    minutes = _between(max(before.minutes, at.hours) if before else at.hours, at.minutes)
    return (
        _delete(old, _followed, lease)
        + _delete(hours, partial(_not_last, TruncHour("at", tzinfo=UTC)), lease)
        + _delete(minutes, partial(_not_last, TruncMinute("at", tzinfo=UTC)), lease)
    )


def _between(first: datetime | None, end: datetime) -> Samples:
    rows = ProgressSample.objects.filter(at__lt=end).order_by()
    return rows if first is None else rows.filter(at__gte=first)


def _followed(rows: Samples) -> Samples:
    """Return the samples after which the load has another."""
    return rows.filter(Exists(ProgressSample.objects.filter(load=OuterRef("load"), at__gt=OuterRef("at"))))


def _not_last(truncated: TruncHour | TruncMinute, rows: Samples) -> Samples:
    """Return the samples after which the load has another in the same hour or minute, all of which is in `rows`."""
    last = Window(Max("at"), partition_by=[F("load"), truncated])
    return rows.annotate(last=last).filter(at__lt=F("last"))


def _delete(rows: Samples, choose: Callable[[Samples], Samples], lease: WorkLease) -> int:
    """Delete the samples that `choose` returns, a slice of loads at a time."""
    deleted = 0
    for first, last in list(_slices(rows)):
        lease.heartbeat()
        some = choose(rows.filter(load__gte=first, load__lte=last))
        deleted += ProgressSample.objects.filter(pk__in=some.values("pk")).delete()[0]
    return deleted


def _slices(rows: Samples) -> Iterator[tuple[int, int]]:
    """Yield first and last load of each slice of about `ROWS_A_STATEMENT` rows."""
    first, count = None, 0
    load = 0
    for load, number in rows.values_list("load").annotate(n=Count("pk")).order_by("load").iterator():
        first, count = load if first is None else first, count + number
        if count >= ROWS_A_STATEMENT:
            yield first, load
            first, count = None, 0
    if first is not None:
        yield first, load


EVENT_RETENTION: Final = timedelta(days=400)

EVENTS_PER_LOAD: Final = 1_000

LOADS_A_STATEMENT: Final = 100

# Events have the time of their object, which may be this much older than its reading.
LATENESS: Final = timedelta(hours=1)


def prune_events(now: datetime, since: datetime | None = None, *, lease: WorkLease = NO_LEASE) -> int:
    """Delete the events that do not stay; return how many.

    `since`: when this was last done, so that only loads with events since then are counted; None: all.
    """
    lease.heartbeat()
    deleted = Event.objects.filter(at__lt=now - EVENT_RETENTION).delete()[0]
    loads = _loads_over_limit(since)
    for start in range(0, len(loads), LOADS_A_STATEMENT):
        lease.heartbeat()
        deleted += _prune_loads(loads[start : start + LOADS_A_STATEMENT])
    return deleted


def _loads_over_limit(since: datetime | None) -> list[int]:
    """Return the loads that may have too many events."""
    rows = Event.objects.order_by()
    if since is not None:
        rows = rows.filter(load__in=Event.objects.filter(at__gte=since - LATENESS).order_by().values("load"))
    counted = rows.values("load").annotate(n=Count("pk")).filter(n__gt=EVENTS_PER_LOAD)
    return sorted(counted.values_list("load", flat=True))


def _prune_loads(loads: list[int]) -> int:
    newest = Window(RowNumber(), partition_by="load", order_by=[F("at").desc(), F("pk").desc()])
    old = Event.objects.filter(load__in=loads).order_by().annotate(place=newest).filter(place__gt=EVENTS_PER_LOAD)
    return Event.objects.filter(pk__in=old.values("pk")).delete()[0]
