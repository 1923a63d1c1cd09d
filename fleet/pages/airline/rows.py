"""Rows of the airline page: its tails, each with its primary load, in a fixed number of queries.

A page may have a thousand rows, so they are tuples: model instances take ten times as long to create. Reads the
database only, for an airline that the caller selected with `visible_to`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.core.paginator import Page
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from fleet.choices import ServiceStatus, Status
from fleet.models import Load, LoadFigures, Tail
from fleet.pages.airline.columns import TAILS, TailRow
from fleet.state.precedence import in_state, primary_load_order
from ifeportal.bulk import where_pk_in
from ifeportal.models import Airline
from ifeportal.tables.query import TableQuery, order_by, paginate

CHUNK: Final = 500


class TailTuple(NamedTuple):
    """The columns of a tail that the page shows, its numbers of loads, and the id of its primary load."""

    pk: int
    name: str
    duty: str
    discovered: bool
    aircraft_type: str
    heard_at: Any
    stores: Any
    loads_loading: int
    loads_failed: int
    chosen: int | None


class _LoadColumns(NamedTuple):
    pk: int
    status: str
    silent: bool
    stalled: bool
    contradiction: str
    waiting: bool
    restarted: bool
    at_risk: bool
    bytes_done: int
    bytes_total: int | None
    items_done: int
    items_failed: int
    items_total: int | None
    rate_bps: int | None
    effective_bps: int | None
    error_code: str
    error: str
    error_content: str
    campaign_name: str


class LoadTuple(LoadFigures, _LoadColumns):
    """The columns of a load that the page shows, and the figures that follow from them."""

    __slots__ = ()


LOAD_COLUMNS: Final = (*_LoadColumns._fields[:-1], "campaign__name")


def tail_page(airline: Airline, choice: TableQuery, count: int) -> tuple[Page[Any], list[TailRow]]:
    """Return a page of the airline's `count` tails; two queries, three if the rows are filtered."""
    chosen = _filtered(airline, choice).values_list(*TailTuple._fields)
    page = paginate(chosen, choice.page, choice.size, None if choice.is_filtered else count)
    tails = [TailTuple._make(row) for row in page.object_list]
    primary = Load.objects.filter(where_pk_in(Load, (tail.chosen for tail in tails if tail.chosen))).order_by()
    loads = {row[0]: LoadTuple._make(row) for row in primary.values_list(*LOAD_COLUMNS)}
    return page, [_row(airline, tail, loads.get(tail.chosen or 0)) for tail in tails]


def iter_tails(airline: Airline, choice: TableQuery) -> Iterator[TailRow]:
    """Yield all tails that the query selects, as models, in chunks."""
    rows: QuerySet[Any, Any] = _filtered(airline, choice)
    keys = list(rows.values_list("pk", "chosen"))
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        tails = Tail.objects.in_bulk([pk for pk, _ in chunk])
        loads = Load.objects.select_related("campaign").in_bulk([chosen for _, chosen in chunk if chosen])
        for pk, chosen in chunk:
            if pk in tails:
                yield _full_row(airline, tails[pk], loads.get(chosen or 0))


def _filtered(airline: Airline, choice: TableQuery) -> QuerySet[Tail]:
    """Select tails, with the id of the primary load among those in the chosen state and campaign as `chosen`.

    With a state only tails in service are selected, as in the counts of states.
    """
    loads = Load.objects.filter(in_state(choice.state), tail=OuterRef("pk"))
    if choice.campaign:
        loads = loads.filter(campaign__name=choice.campaign)
    if choice.state or choice.campaign:
        primary_first = loads.order_by(*primary_load_order())
        chosen: Any = Subquery(primary_first.values("pk")[:1])
    else:
        primary_first = Load.objects.filter(pk=OuterRef("primary_load_id")).order_by()
        chosen = F("primary_load_id")
    tails = airline.tails.annotate(chosen=chosen)
    if choice.state:
        tails = tails.filter(Exists(loads), duty=ServiceStatus.ACTIVE)
    if choice.search:
        matching = loads.filter(Q(campaign__name__icontains=choice.search) | Q(error_code__iexact=choice.search))
        named = Q(name__icontains=choice.search) | Q(aircraft_type__icontains=choice.search)
        tails = tails.filter(named | Exists(matching))
    return tails.order_by(order_by(TAILS.sort_of(choice.order)(primary_first), choice), "name")


def _row(airline: Airline, tail: TailTuple, load: LoadTuple | None) -> TailRow:
    return TailRow(airline, tail, load, load.campaign_name if load else "", *_others(tail, load))


def _full_row(airline: Airline, tail: Tail, load: Load | None) -> TailRow:
    if load:
        tail.airline = load.campaign.airline = airline
        load.tail = tail
    return TailRow(airline, tail, load, load.campaign.name if load else "", *_others(tail, load))


def _others(tail: Tail | TailTuple, load: LoadFigures | None) -> tuple[int, int]:
    """Return how many loads of the tail, besides this one, are loading and failed."""
    status = load.status if load else ""
    return tail.loads_loading - (status == Status.LOADING), tail.loads_failed - (status == Status.FAILED)
