"""Rows of the airline page: its tails, each with its primary load, in a fixed number of queries.

Reads the database only, for an airline that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from django.core.paginator import Page
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail
from fleet.pages.airline.columns import TAILS, TailRow
from fleet.pages.orderings import primary_load_order
from fleet.state.precedence import in_state
from ifeportal.bulk import where_in
from ifeportal.models import Airline
from ifeportal.tables.query import TableQuery, order_by, paginate

CHUNK: Final = 500
# Fields that the page shows: half of the columns and few timestamps, each of which takes as long as three numbers.
TAIL_FIELDS: Final = ("airline", "name", "duty", "discovered", "aircraft_type", "heard_at", "stores")
LOAD_FIELDS: Final = (
    "tail", "campaign", "status", "silent", "stalled", "contradiction", "waiting", "restarted", "at_risk", "bytes_done",
    "bytes_total", "items_done", "items_failed", "items_total", "rate_bps", "effective_bps", "error_code", "error",
    "error_content",
)  # fmt: skip


def tail_page(airline: Airline, choice: TableQuery, count: int) -> tuple[Page[Tail], list[TailRow]]:
    """Return a page of the airline's `count` tails; two queries, three if the rows are filtered."""
    chosen = _filtered(airline, choice).only(*TAIL_FIELDS)
    page = paginate(chosen, choice.page, choice.size, None if choice.is_filtered else count)
    tails = list(page.object_list)
    primary_ids = [getattr(tail, "primary_load_id") for tail in tails]  # noqa: B009  (an annotation)
    return page, _rows(airline, tails, primary_ids, _loads(tails, primary_ids).only(*LOAD_FIELDS))


def iter_tails(airline: Airline, choice: TableQuery) -> Iterator[TailRow]:
    """Yield all tails that the query selects, in chunks."""
    rows: QuerySet[Any, Any] = _filtered(airline, choice)
    keys = list(rows.values_list("pk", "primary_load_id"))
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        tails = Tail.objects.in_bulk([pk for pk, _ in chunk])
        present = [(tails[pk], primary_id) for pk, primary_id in chunk if pk in tails]
        chunk_tails, primary_ids = [tail for tail, _ in present], [primary_id for _, primary_id in present]
        yield from _rows(airline, chunk_tails, primary_ids, _loads(chunk_tails, primary_ids))


def _filtered(airline: Airline, choice: TableQuery) -> QuerySet[Tail]:
    """Select tails, annotated with the id of the primary load among those in the chosen state and campaign.

    With a state only tails in service are selected, as in the counts of states.
    """
    loads = Load.objects.filter(in_state(choice.state), tail=OuterRef("pk"))
    if choice.campaign:
        loads = loads.filter(campaign__name=choice.campaign)
    primary_first = loads.order_by(*primary_load_order())
    tails = airline.tails.annotate(primary_load_id=Subquery(primary_first.values("pk")[:1]))
    if choice.state:
        tails = tails.filter(Exists(loads), duty=ServiceStatus.ACTIVE)
    if choice.search:
        matching = loads.filter(Q(campaign__name__icontains=choice.search) | Q(error_code__iexact=choice.search))
        named = Q(name__icontains=choice.search) | Q(aircraft_type__icontains=choice.search)
        tails = tails.filter(named | Exists(matching))
    return tails.order_by(order_by(TAILS.sort_of(choice.order)(primary_first), choice), "name")


def _rows(
    airline: Airline, tails: Sequence[Tail], primary_ids: Sequence[int | None], rows_of_loads: QuerySet[Load]
) -> list[TailRow]:
    """Combine the tails with their primary loads and the counts of their other loads; one query."""
    loads = {load.pk: load for load in rows_of_loads}
    campaigns = _campaigns(airline, loads.values())
    counts = Counter((load.tail_id, load.status) for load in loads.values())
    rows = []
    for tail, primary_id in zip(tails, primary_ids, strict=True):
        load = loads.get(primary_id) if primary_id else None
        tail.airline = airline
        if load:
            load.tail, load.campaign = tail, campaigns[load.campaign_id]
            counts[tail.pk, load.status] -= 1
        rows.append(TailRow(tail, load, counts[tail.pk, Status.LOADING], counts[tail.pk, Status.FAILED]))
    return rows


def _loads(tails: Sequence[Tail], primary_ids: Sequence[int | None]) -> QuerySet[Load]:
    """Select the loads of the tails that are primary, loading or failed, annotated with the name of the campaign."""
    of_tails = Load.objects.filter(where_in(Load, ["tail_id"], ((tail.pk,) for tail in tails)))
    is_primary = Q(where_in(Load, ["id"], ((pk,) for pk in primary_ids if pk)))
    return (
        of_tails.filter(is_primary | Q(status__in=(Status.LOADING, Status.FAILED)))
        .annotate(campaign_name=F("campaign__name"))
        .order_by()
    )


def _campaigns(airline: Airline, loads: Collection[Load]) -> dict[int, Campaign]:
    """Return one instance per campaign with only its name: a thousand loads share few campaigns."""
    names = {load.campaign_id: getattr(load, "campaign_name") for load in loads}  # noqa: B009  (an annotation)
    campaigns = {pk: Campaign.from_db(None, ["id", "name"], [pk, name]) for pk, name in names.items()}
    for campaign in campaigns.values():
        campaign.airline = airline
    return campaigns
