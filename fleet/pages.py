"""What each page shows: rows, sums and choices, gathered in a number of queries that does not grow with the rows.

Reads the database only, and only below rows that its caller has reached by `visible_to`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import OrderBy

from campaigns.models import Campaign, ContentItem
from fleet import rollup
from fleet.listing import ITEM, LOAD, MOVING, STATES, Choice, in_state, item_in_state, ordered, page_of
from fleet.models import Anomaly, Load, Status, Tail, Transfer
from fleet.rollup import Rollup
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline, Job

FEW: Final = 12
NOW_ROWS: Final = 12
POLL_GRACE: Final = timedelta(seconds=10)
RESTING: Final = timedelta(seconds=10)  # a shorter pause is not worth a word

FLEET_COLUMNS: Final = ("attention", "name", "percent", "tails")
AIRLINE_COLUMNS: Final = ("status", "tail", "campaign", "heard", *(key for key in LOAD if key != "status"))
ITEM_COLUMNS: Final = ("status", "item", *(key for key in ITEM if key != "status"))


@dataclass(frozen=True)
class Freshness:
    """When the buckets were last read for an airline; of one in parts, the part that was read longest ago counts.

    `stale`: longer ago than two rounds at its own pace should take. `next_at`: when it is read next, while it rests.
    """

    read_at: datetime | None = None
    failures: int = 0
    stale: bool = True
    next_at: datetime | None = None


def freshness(airlines: Iterable[Airline], now: datetime) -> dict[str, Freshness]:
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


def away(found: Collection[Freshness]) -> Away:
    """What a page says above everything else; an airline that was never read has nothing that could be old."""
    since = [each.read_at for each in found if each.stale and each.read_at]
    return Away(len(found), len(since), min(since, default=None))


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


@dataclass(frozen=True)
class Card:
    """An airline on the fleet page."""

    airline: Airline
    sums: Rollup
    freshness: Freshness

    def rank(self, column: str) -> tuple[int, ...]:
        """What the card is ordered by, besides its name."""
        match column:
            case "percent":
                return (-1 if self.sums.percent is None else self.sums.percent,)
            case "tails":
                return (-self.sums.tails,)
            case "attention":
                return (-self.sums.failed, -self.sums.items_failed, -self.sums.stalled, -int(self.freshness.stale))
        return ()


def fleet_cards(airlines: ScopedQuerySet[Airline], choice: Choice, now: datetime) -> list[Card]:
    """One card an airline, in the chosen order; two queries."""
    if choice.search:
        airlines = airlines.filter(Q(name__icontains=choice.search) | Q(title__icontains=choice.search))
    rows = list(rollup.airlines(airlines))
    fresh = freshness(rows, now)
    cards = [Card(row, rollup.rollup_of(row), fresh[row.name]) for row in rows]
    cards.sort(key=lambda card: (card.rank(choice.order), str(card.airline).casefold()), reverse=choice.descending)
    return cards


def sums_of(row: QuerySet[Airline] | QuerySet[Tail] | QuerySet[Campaign]) -> Rollup:
    """The sums of the one row in the query set, which comes from `fleet.rollup`."""
    return rollup.rollup_of(row.get())


@dataclass(frozen=True)
class TailRow:
    """A tail, the load that speaks for it, and how many other loads of it are moving or have failed."""

    tail: Tail
    load: Load | None
    others_loading: int
    others_failed: int


def speaking_first() -> list[OrderBy]:
    """Which load speaks for a tail: the one that moves (nearest exhibition first), else the one heard of last."""
    return [
        Case(When(MOVING, then=Value(0)), default=Value(1)).asc(),
        Case(When(MOVING, then=F("campaign__exhibition_starts"))).asc(nulls_last=True),
        Case(When(~MOVING, then=F("as_of"))).desc(nulls_last=True),
        F("pk").desc(),
    ]


def tail_page(airline: Airline, choice: Choice) -> tuple[Page[Tail], list[TailRow]]:
    """A page of the airline's tails, each with the load that speaks for it among those in the chosen state."""
    loads = Load.objects.filter(in_state(choice.state), tail=OuterRef("pk"))
    speaking = loads.order_by(*speaking_first())
    tails = airline.tails.annotate(speaker=Subquery(speaking.values("pk")[:1]))
    if choice.state:
        tails = tails.filter(speaker__isnull=False)
    if choice.search:
        found = loads.filter(Q(campaign__name__icontains=choice.search) | Q(error_code__iexact=choice.search))
        tails = tails.filter(Q(name__icontains=choice.search) | Exists(found))
    if choice.order in ("tail", "heard"):
        column: F | Subquery = F("name" if choice.order == "tail" else "heard_at")
    else:
        chosen = F("campaign__name") if choice.order == "campaign" else LOAD[choice.order]
        column = Subquery(speaking.annotate(chosen=chosen).values("chosen")[:1])
    page = page_of(tails.order_by(ordered(column, choice), "name"), choice.page)
    return page, _tail_rows(list(page.object_list))


def _tail_rows(tails: Sequence[Tail]) -> list[TailRow]:
    speakers = [getattr(tail, "speaker") for tail in tails]  # noqa: B009  (an annotation)
    loads = Load.objects.select_related("campaign__airline").in_bulk([pk for pk in speakers if pk])
    counts = {
        row["tail"]: row
        for row in Load.objects.filter(tail__in=tails)
        .order_by()
        .values("tail")
        .annotate(loading=Count("pk", filter=MOVING), failed=Count("pk", filter=Q(status=Status.FAILED)))
    }
    rows = []
    for tail, speaker in zip(tails, speakers, strict=True):
        load, count = loads.get(speaker), counts.get(tail.pk, {"loading": 0, "failed": 0})
        status = load.status if load else ""
        rows.append(
            TailRow(
                tail,
                load,
                count["loading"] - (status == Status.LOADING),
                count["failed"] - (status == Status.FAILED),
            )
        )
    return rows


@dataclass(frozen=True)
class Summed:
    """A campaign and the sums of its loads."""

    campaign: Campaign
    sums: Rollup


def newest_campaigns(airline: Airline, limit: int | None) -> list[Summed]:
    """The airline's campaigns, the latest exhibition first (those without a date before them)."""
    rows = rollup.campaigns(Campaign.objects.filter(airline=airline))
    rows = rows.order_by(F("exhibition_starts").desc(nulls_first=True), "-name")
    return [Summed(row, rollup.rollup_of(row)) for row in rows[:limit]]


def open_anomalies(anomalies: QuerySet[Anomaly]) -> Page[Anomaly]:
    """The newest few of what could not be understood and still stands; the page knows how many there are."""
    return Paginator(anomalies.filter(resolved_at=None).order_by("-last_seen", "pk"), FEW).page(1)


def newest(rows: QuerySet[Load] | QuerySet[Tail] | QuerySet[Transfer] | QuerySet[Campaign]) -> int:
    """The highest id among the rows, so that the page can tell a new row from one on another page."""
    top: int | None = rows.aggregate(top=Max("pk"))["top"]
    return top or 0


def loads_of(tail: Tail) -> list[Load]:
    """The tail's loads, the one that speaks for it first."""
    return list(Load.objects.filter(tail=tail).select_related("campaign__airline").order_by(*speaking_first()))


def state_counts(rows: QuerySet[Transfer]) -> dict[str, int]:
    """How many of the items there are in each of `STATES`, and in `all`."""
    # Not named as the states alone, or "stalled" would be the count where a later one asks for the field.
    sums = {f"in_{state}": Count("pk", filter=item_in_state(state)) for state in STATES}
    counts = rows.order_by().aggregate(in_all=Count("pk", filter=item_in_state("")), **sums)
    return {name.removeprefix("in_"): count for name, count in counts.items()}


@dataclass(frozen=True)
class ItemRow:
    """A transfer and what the manifest says of its item, if it names it."""

    transfer: Transfer
    item: ContentItem | None


def item_page(load: Load, choice: Choice) -> tuple[Page[Transfer], list[ItemRow]]:
    """A page of the load's items."""
    rows = Transfer.objects.filter(item_in_state(choice.state), load=load).select_related("load")
    if choice.search:
        rows = rows.filter(Q(content__icontains=choice.search) | Q(error_code__iexact=choice.search))
    column = F("content") if choice.order == "item" else ITEM[choice.order]
    page = page_of(rows.order_by(ordered(column, choice), "content"), choice.page)
    return page, with_items(load.campaign, list(page.object_list))


def with_items(campaign: Campaign, transfers: Sequence[Transfer]) -> list[ItemRow]:
    """Each transfer with its content item; one query."""
    names = {transfer.content for transfer in transfers}
    items = {item.name: item for item in ContentItem.objects.filter(campaign=campaign, name__in=names)}
    return [ItemRow(transfer, items.get(transfer.content)) for transfer in transfers]


def loading_now(tail: Tail) -> Page[Transfer]:
    """What moves on the tail, over all its loads, those without a byte for a while first."""
    rows = Transfer.objects.filter(MOVING, load__tail=tail).select_related("load__campaign")
    return Paginator(rows.order_by("-stalled", "-as_of", "content"), NOW_ROWS).page(1)
