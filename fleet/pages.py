"""What each page shows: rows, sums and choices, gathered in a number of queries that does not grow with the rows.

Reads the database only, and only below rows that its caller has reached by `visible_to`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Case, Count, F, Max, OuterRef, Q, QuerySet, Subquery, Value, When, Window
from django.db.models.expressions import OrderBy
from django.utils import timezone

from campaigns.models import Campaign
from fleet.listing import MOVING
from fleet.models import Anomaly, Load, Tail, Transfer
from fleet.stats import rollup
from fleet.stats.airline_totals import READY
from fleet.stats.rollup import Rollup
from ifeportal.access import Role, sees_every_airline
from ifeportal.models import Airline, Job, Membership

ANOMALIES_SHOWN: Final = 12
CAMPAIGNS_SHOWN: Final = 12
POLL_GRACE: Final = timedelta(seconds=10)
RESTING: Final = timedelta(seconds=10)  # a shorter pause is not worth a word


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


@dataclass(frozen=True)
class Away:
    """For how many of some airlines the buckets have not been read for too long, and since when for the first."""

    airlines: int
    stale_count: int = 0
    read_at: datetime | None = None

    @property
    def stale(self) -> bool:
        """Whether there are any."""
        return self.stale_count > 0


def store_outage(found: Collection[Freshness]) -> Away:
    """What a page says above everything else; an airline that was never read has nothing that could be old."""
    since = [each.read_at for each in found if each.stale and each.read_at]
    return Away(len(found), len(since), min(since, default=None))


def freshness_of(airline: Airline) -> dict[str, Any]:
    """When the airline was last read, for its badge and for the note above the page."""
    fresh = load_freshness([airline], timezone.now())[airline.name]
    return {"freshness": fresh, "away": store_outage([fresh]), "single": True}


def _freshness(jobs: Sequence[Job], now: datetime) -> Freshness:
    read = [job.succeeded_at for job in jobs if job.succeeded_at]
    if not read:
        return Freshness(failures=max((job.failures for job in jobs), default=0))
    rests = [job.due_at for job in jobs if job.succeeded_at and job.due_at - job.succeeded_at > RESTING]
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


def airlines(rows: QuerySet[Airline]) -> QuerySet[Airline]:
    """The airlines with their sums, and the newest ids of their tails and loads."""
    found: QuerySet[Airline] = rollup.airlines(rows).annotate(
        newest_tail=Max("tails__pk"), newest_load=Max("tails__loads__pk")
    )
    return found


@dataclass(frozen=True)
class About:
    """Of an airline: how many tails hold all that was begun on them, its newest campaign, and what the user may do."""

    ready: int
    newest_campaign: int
    role: str


def about(airline: Airline, user: AbstractUser | AnonymousUser) -> About:
    """Gathered in one query."""
    ready = Tail.objects.filter(READY, airline=OuterRef("pk")).order_by().values("airline")
    campaigns = Campaign.objects.filter(airline=OuterRef("pk")).order_by("-pk")
    memberships = Membership.objects.filter(user=user.pk, airline=OuterRef("pk"))
    found = (
        Airline.objects.filter(pk=airline.pk)
        .values_list(
            Subquery(ready.annotate(number=Count("pk")).values("number")),
            Subquery(campaigns.values("pk")[:1]),
            Subquery(memberships.values("role")[:1]),
        )
        .get()
    )
    role = Role.MANAGER.value if sees_every_airline(user) else found[2]
    return About(found[0] or 0, found[1] or 0, role or "")


def sums_of(row: QuerySet[Airline] | QuerySet[Tail] | QuerySet[Campaign]) -> Rollup:
    """The sums of the one row in the query set, which comes from `fleet.stats.rollup`."""
    return rollup.rollup_of(row.get())


def speaking_first() -> list[OrderBy]:
    """Which load speaks for a tail: the one that moves (nearest exhibition first), else the one heard of last."""
    return [
        Case(When(MOVING, then=Value(0)), default=Value(1)).asc(),
        Case(When(MOVING, then=F("campaign__exhibition_starts"))).asc(nulls_last=True),
        Case(When(~MOVING, then=F("as_of"))).desc(nulls_last=True),
        F("pk").desc(),
    ]


@dataclass(frozen=True)
class Summed:
    """A campaign and the sums of its loads."""

    campaign: Campaign
    sums: Rollup


def newest_campaigns(airline: Airline, limit: int | None) -> list[Summed]:
    """The airline's campaigns, the latest exhibition first (those without a date before them); one query."""
    by_date = (F("exhibition_starts").desc(nulls_first=True), "-name")
    shown = airline.campaigns.order_by(*by_date).values("pk")[:limit]
    return [Summed(row, rollup.rollup_of(row)) for row in _campaigns(shown).order_by(*by_date)]


def campaign_of(airline: Airline, name: str) -> Summed | None:
    """One of its campaigns; None if it has none of that name."""
    row = _campaigns(airline.campaigns.filter(name=name).values("pk")).first() if name else None
    return Summed(row, rollup.rollup_of(row)) if row else None


def _campaigns(keys: QuerySet[Campaign, Any]) -> QuerySet[Campaign]:
    """With their sums: of these alone, so that a page of a few does not sum up all there ever were."""
    return rollup.campaigns(Campaign.objects.filter(pk__in=keys))


@dataclass(frozen=True)
class Understood:
    """The newest few anomalies that still stand, and how many there are."""

    newest: Sequence[Anomaly]
    count: int


def open_anomalies(anomalies: QuerySet[Anomaly]) -> Understood:
    """What could not be understood and still stands; one query."""
    rows = anomalies.filter(resolved_at=None).order_by("-last_seen", "pk")
    found = list(rows.annotate(count=Window(Count("pk")))[:ANOMALIES_SHOWN])
    return Understood(found, getattr(found[0], "count") if found else 0)  # noqa: B009  (an annotation)


def newest(rows: QuerySet[Load] | QuerySet[Tail] | QuerySet[Transfer] | QuerySet[Campaign]) -> int:
    """The highest id among the rows, so that the page can tell a new row from one on another page."""
    top: int | None = rows.aggregate(top=Max("pk"))["top"]
    return top or 0


def loads_of(tail: Tail) -> list[Load]:
    """The tail's loads, the one that speaks for it first."""
    return list(Load.objects.filter(tail=tail).select_related("campaign__airline").order_by(*speaking_first()))
