"""Rows of the campaign page: tails, items, and tails by items for browsers without scripts.

Reads the database only, for a campaign that the caller selected with `visible_to`. Tails and items are paginated, so
the number of queries is constant. Totals cover all tails in service, also those that have not started the campaign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from campaigns.models import Campaign, ContentItem
from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail, Transfer
from fleet.pages.campaign.columns import LOADS, ItemColumn
from fleet.state.precedence import in_state
from fleet.stats import rollup
from fleet.stats.rollup import Rollup
from ifeportal.models import Airline
from ifeportal.tables.query import TableQuery, paginate, select_rows


def totals_of(row: QuerySet[Airline] | QuerySet[Tail] | QuerySet[Campaign]) -> Rollup:
    """Return the totals of the only row of a query set from `fleet.stats.rollup`."""
    return rollup.read_rollup(row.get())


def newest_id(rows: QuerySet[Load] | QuerySet[Tail] | QuerySet[Transfer] | QuerySet[Campaign]) -> int:
    """Return the highest id, by which the page's script tells a new row from one on another page."""
    top: int | None = rows.aggregate(top=Max("pk"))["top"]
    return top or 0


ITEMS_ACROSS: Final = 40


@dataclass(frozen=True)
class MatrixRow:
    """A load and its transfers in the order of the columns; None for items not reported."""

    load: Load
    cells: Sequence[tuple[ItemColumn, Transfer | None]]


def not_started(campaign: Campaign) -> int:
    """Count the tails in service that have not started the campaign."""
    started = Load.objects.filter(campaign=campaign, tail=OuterRef("pk"))
    return Tail.objects.filter(~Exists(started), airline=campaign.airline_id, duty=ServiceStatus.ACTIVE).count()


def loads_of(campaign: Campaign) -> QuerySet[Load]:
    return Load.objects.filter(campaign=campaign, tail__duty=ServiceStatus.ACTIVE)


def transfers_of(campaign: Campaign) -> QuerySet[Transfer]:
    """Select all items on all tails in service, ordered by tail."""
    rows = Transfer.objects.filter(load__campaign=campaign, load__tail__duty=ServiceStatus.ACTIVE)
    return rows.order_by("load__tail__name", "content")


def filtered_loads(campaign: Campaign, choice: TableQuery) -> QuerySet[Load]:
    """Select and order the campaign's loads, with their tails."""
    rows = loads_of(campaign).filter(in_state(choice.state)).select_related("tail")
    return select_rows(rows, LOADS, choice, "tail__name")


def load_page(campaign: Campaign, choice: TableQuery) -> Page[Load]:
    return paginate(filtered_loads(campaign, choice), choice.page)


def item_names(campaign: Campaign, number: str) -> Page[str]:
    """Return a page of item names: those of the manifest in its order, then those that only aircraft report."""
    known = list(
        ContentItem.objects.filter(campaign=campaign).order_by("-listed", "position").values_list("name", flat=True)
    )
    unlisted = Transfer.objects.filter(load__campaign=campaign, listed=False).order_by("content")
    listed = set(known)
    known += [name for name in unlisted.values_list("content", flat=True).distinct() if name not in listed]
    return Paginator(known, ITEMS_ACROSS).get_page(number)


def item_columns(campaign: Campaign, names: Sequence[str]) -> list[ItemColumn]:
    """Return the named items with their counts on tails in service; two queries."""
    items = {item.name: item for item in ContentItem.objects.filter(campaign=campaign, name__in=names)}
    counted = (
        Transfer.objects.filter(load__campaign=campaign, load__tail__duty=ServiceStatus.ACTIVE, content__in=names)
        .order_by()
        .values_list("content")
        .annotate(
            complete=Count("pk", filter=Q(status=Status.COMPLETE)),
            loading=Count("pk", filter=Q(status=Status.LOADING)),
            failed=Count("pk", filter=Q(status=Status.FAILED)),
        )
    )
    counts = {name: tuple(numbers) for name, *numbers in counted}
    return [ItemColumn(name, items.get(name), *counts.get(name, (0, 0, 0))) for name in names]


def matrix(loads: Sequence[Load], columns: Sequence[ItemColumn]) -> list[MatrixRow]:
    """Return the cells of these loads and items; one query."""
    cells = {
        (cell.load_id, cell.content): cell
        for cell in Transfer.objects.filter(load__in=loads, content__in=[column.name for column in columns]).only(
            "load", "content", "status", "stalled", "restarted", "oversized", "error_past", "bytes_done", "bytes_total"
        )
    }
    by_id = {load.pk: load for load in loads}
    for cell in cells.values():
        cell.load = by_id[cell.load_id]
    return [MatrixRow(load, [(column, cells.get((load.pk, column.name))) for column in columns]) for load in loads]
