"""Rows of the campaign page: tails, items, and tails by items for browsers without scripts.

Reads the database only, for a campaign that the caller selected with `visible_to`. Tails and items are paginated, so
the number of queries is constant. Totals cover all tails in service, also those that have not started the campaign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from campaigns.models import Campaign, ContentItem
from fleet.choices import ServiceStatus
from fleet.models import ItemTotals, Load, Transfer
from fleet.pages.campaign.columns import LOADS, ItemColumn
from fleet.state.precedence import in_state
from ifeportal.tables.query import TableQuery, paginate, select_rows

ITEMS_ACROSS: Final = 40


@dataclass(frozen=True)
class MatrixRow:
    """A load and its transfers in the order of the columns; None for items not reported."""

    load: Load
    cells: Sequence[tuple[ItemColumn, Transfer | None]]


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


def load_page(campaign: Campaign, choice: TableQuery, count: int) -> Page[Load]:
    """Return a page of the loads, of which there are `count` without a filter."""
    return paginate(filtered_loads(campaign, choice), choice.page, count=None if choice.is_filtered else count)


def item_totals(campaign: Campaign) -> dict[str, ItemTotals]:
    """Return the stored totals of the items that a tail has reported, or that a manifest listed; one query."""
    return {row.content: row for row in ItemTotals.objects.filter(campaign=campaign).order_by("content")}


def item_names(campaign: Campaign, reported: Collection[str], number: str) -> Page[str]:
    """Return a page of item names: those of the manifest in its order, then the `reported` ones it does not have."""
    known = list(
        ContentItem.objects.filter(campaign=campaign).order_by("-listed", "position").values_list("name", flat=True)
    )
    listed = set(known)
    known += [name for name in reported if name not in listed]
    return Paginator(known, ITEMS_ACROSS).get_page(number)


def item_columns(campaign: Campaign, names: Sequence[str], totals: Mapping[str, ItemTotals]) -> list[ItemColumn]:
    """Return the named items with their counts on tails in service; one query."""
    items = {item.name: item for item in ContentItem.objects.filter(campaign=campaign, name__in=names)}
    counts = [(name, totals.get(name) or ItemTotals()) for name in names]
    return [ItemColumn(name, items.get(name), row.complete, row.loading, row.failed) for name, row in counts]


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
