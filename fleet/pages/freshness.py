"""When the buckets of an airline were last read: for badges, the outage notice and the scripts of open pages.

Reads the database only, for airlines that the caller selected with `visible_to`.
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
MINIMUM_REST: Final = timedelta(seconds=10)  # a shorter wait for the next poll is not shown


@dataclass(frozen=True)
class Freshness:
    """When the buckets of an airline were last read. For an airline in partitions, the oldest partition counts.

    `stale`: two polls at its interval are overdue. `next_at`: time of the next poll while the airline is polled slowly.
    """

    read_at: datetime | None = None
    failures: int = 0
    stale: bool = True
    next_at: datetime | None = None


def load_freshness(airlines: Iterable[Airline], now: datetime) -> dict[str, Freshness]:
    """Return freshness by name of airline; one query."""
    names = [airline.name for airline in airlines]
    heads = {f"poll:{name}": name for name in names}
    # Few airlines are polled in partitions, so all rows of partitions are read.
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
    return load_freshness([airline], now)[airline.name]


@dataclass(frozen=True)
class StoreOutage:
    """How many of the airlines are stale, and the oldest time that one of them was read."""

    airlines: int
    stale_count: int = 0
    read_at: datetime | None = None

    @property
    def stale(self) -> bool:
        """Whether an airline is stale."""
        return self.stale_count > 0


def store_outage(each_airline: Collection[Freshness]) -> StoreOutage:
    """Summarise freshness for the outage notice. Airlines that were never read have no data that could be stale."""
    since = [each.read_at for each in each_airline if each.stale and each.read_at]
    return StoreOutage(len(each_airline), len(since), min(since, default=None))


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
    if job.succeeded_at is None:  # a new partition
        return now > job.due_at + POLL_GRACE
    if job.failures:
        return now > job.succeeded_at + 2 * interval + POLL_GRACE
    return now > job.due_at + max(job.due_at - job.succeeded_at, interval) + POLL_GRACE


@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """Return the server's time and the freshness of the user's airlines as JSON."""
    airlines = Airline.objects.visible_to(request.user)
    if "airline" in request.GET:
        airlines = airlines.filter(name=request.GET["airline"])
    now = timezone.now()
    freshness_of = load_freshness(airlines, now)
    read = {
        name: {
            "read_at": fresh.read_at and iso(fresh.read_at),
            "stale": fresh.stale,
            "next_at": fresh.next_at and iso(fresh.next_at),
        }
        for name, fresh in freshness_of.items()
    }
    outage = store_outage(list(freshness_of.values()))
    outage_state = {
        "airlines": outage.airlines,
        "stale": outage.stale,
        "stale_count": outage.stale_count,
        "read_at": outage.read_at and iso(outage.read_at),
    }
    return JsonResponse({"now": iso(now), "airlines": read, "away": outage_state})
