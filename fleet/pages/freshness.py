"""Freshness: when the buckets were last read for an airline, for badges, for the note above pages, and for open pages.

Reads the database only, and only below airlines that its caller has reached by `visible_to`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from ifeportal.formatting import iso
from ifeportal.models import Airline, Job

POLL_GRACE: Final = timedelta(seconds=10)
MINIMUM_REST: Final = timedelta(seconds=10)  # a shorter pause is not worth a word


@dataclass(frozen=True)
class Freshness:
    """When the buckets were last read for an airline; of one in parts, the part that was read longest ago counts.

    `stale`: longer ago than two rounds at its own pace should take. `next_at`: when it is read next, while it rests.
    """

    read_at: datetime | None = None
    failures: int = 0
    stale: bool = True
    next_at: datetime | None = None


def load_freshness(airlines: Iterable[Airline], now: datetime) -> dict[str, Freshness]:
    """By the airline's name; one query, whatever their number."""
    names = [airline.name for airline in airlines]
    heads = {f"poll:{name}": name for name in names}
    # Most airlines are polled whole: the rows of parts are few, whosoever they are.
    parts = (
        Q(name__startswith=f"poll:{names[0]}/") if len(names) == 1 else Q(name__startswith="poll:", name__contains="/")
    )
    jobs: dict[str, list[Job]] = {name: [] for name in names}
    for job in Job.objects.filter(Q(name__in=heads) | parts):
        airline = heads.get(job.name.partition("/")[0])
        if airline is not None:
            jobs[airline].append(job)
    return {name: _freshness(rows, now) for name, rows in jobs.items()}


def airline_freshness(airline: Airline, now: datetime) -> Freshness:
    """The same of one airline."""
    return load_freshness([airline], now)[airline.name]


@dataclass(frozen=True)
class StoreOutage:
    """For how many of some airlines the buckets have not been read for too long, and since when for the first."""

    airlines: int
    stale_count: int = 0
    read_at: datetime | None = None

    @property
    def stale(self) -> bool:
        """Whether there are any."""
        return self.stale_count > 0


def store_outage(found: Collection[Freshness]) -> StoreOutage:
    """What a page says above everything else; an airline that was never read has nothing that could be old."""
    since = [each.read_at for each in found if each.stale and each.read_at]
    return StoreOutage(len(found), len(since), min(since, default=None))


def _freshness(jobs: Sequence[Job], now: datetime) -> Freshness:
    read = [job.succeeded_at for job in jobs if job.succeeded_at]
    if not read:
        return Freshness(failures=max((job.failures for job in jobs), default=0))
    rests = [job.due_at for job in jobs if job.succeeded_at and job.due_at - job.succeeded_at > MINIMUM_REST]
    return Freshness(
        read_at=min(read),
        failures=max(job.failures for job in jobs),
        stale=any(_is_stale(job, now) for job in jobs),
        next_at=min(rests) if len(rests) == len(jobs) else None,
    )


def _is_stale(job: Job, now: datetime) -> bool:
    interval = timedelta(seconds=settings.POLL_INTERVAL)
    if job.succeeded_at is None:  # a part that is new
        return now > job.due_at + POLL_GRACE
    if job.failures:
        return now > job.succeeded_at + 2 * interval + POLL_GRACE
    return now > job.due_at + max(job.due_at - job.succeeded_at, interval) + POLL_GRACE


@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """For open pages: the server's time, and when the buckets were last read for the airlines of the user."""
    airlines = Airline.objects.visible_to(request.user)
    if "airline" in request.GET:
        airlines = airlines.filter(name=request.GET["airline"])
    now = timezone.now()
    found = load_freshness(airlines, now)
    read = {
        name: {
            "read_at": fresh.read_at and iso(fresh.read_at),
            "stale": fresh.stale,
            "next_at": fresh.next_at and iso(fresh.next_at),
        }
        for name, fresh in found.items()
    }
    away = store_outage(list(found.values()))
    together = {
        "airlines": away.airlines,
        "stale": away.stale,
        "stale_count": away.stale_count,
        "read_at": away.read_at and iso(away.read_at),
    }
    return JsonResponse({"now": iso(now), "airlines": read, "away": together})
