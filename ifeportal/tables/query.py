"""The query of a long table in its address: search, state, order and page.

Builds conditions and orders, asks the database nothing but a page's rows and their number. An invalid parameter falls
back to the default: a pasted link never fails.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import F, Model, Q, QuerySet, Subquery
from django.db.models.expressions import Expression, OrderBy
from django.http import QueryDict

from ifeportal.tables.columns import Table

PAGE_SIZES: Final = (50, 100, 200, 500, 1_000)
PAGE_ROWS: Final = PAGE_SIZES[0]
SEARCH_LIMIT: Final = 200


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class TableQuery:
    """What the address asks for. `order` is one of the table's columns, `state` one of its states or "".

    `campaign` may be any text, `size` is one of `PAGE_SIZES`.
    """

    search: str
    state: str
    order: str
    descending: bool
    page: str
    campaign: str = ""
    size: int = PAGE_ROWS

    @property
    def is_filtered(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.search or self.state)


def parse_query(params: QueryDict, table: Table, states: Collection[str] = ()) -> TableQuery:
    """Read `q`, `state`, `campaign`, `sort` (a column of the table, with `-` for descending), `page` and `size`.

    A `state` that is none of `states` selects all rows.
    """
    state, order, size = params.get("state", ""), params.get("sort", ""), params.get("size", "")
    if order.removeprefix("-") not in table.orders:
        order = table.order
    return TableQuery(
        search=_text(params, "q"),
        state=state if state in states else "",
        order=order.removeprefix("-"),
        descending=order.startswith("-"),
        page=params.get("page", "1"),
        campaign=_text(params, "campaign"),
        size=next((known for known in PAGE_SIZES if str(known) == size), PAGE_ROWS),
    )


def parse_columns(params: QueryDict, table: Table) -> tuple[str, ...]:
    """The columns to show: the first one, and those that `cols` names (often, or with commas between); else the usual.

    They stand in the order of the page.
    """
    chosen = {word for value in params.getlist("cols") for word in value.split(",")} & {*table.shown}
    if not chosen:
        return table.default_columns
    return tuple(word for word in table.shown if word == table.required_column or word in chosen)


def _text(params: QueryDict, name: str) -> str:
    return params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT]


def search_condition(table: Table, query: TableQuery) -> Q:
    """The rows of which any searchable column has what is looked for; all rows if nothing is."""
    lookups = [column.search for column in table.columns if column.search] if query.search else []
    return Q(*((lookup, query.search) for lookup in lookups), _connector=Q.OR)


def select_rows(rows: QuerySet[M], table: Table, query: TableQuery, *then: str) -> QuerySet[M]:
    """The rows that match the search, ordered as the address asks and, where that is equal, by `then`."""
    return rows.filter(search_condition(table, query)).order_by(order_by(table.sort_of(query.order), query), *then)


def order_by(column: Expression | F | Subquery, query: TableQuery) -> OrderBy:
    """By that column, the choice's way round; rows without a value come last either way."""
    if query.descending:
        return OrderBy(column, descending=True, nulls_last=True)
    return OrderBy(column, nulls_last=True)


def paginate(rows: QuerySet[M], number: str, size: int = PAGE_ROWS, count: int | None = None) -> Page[M]:
    """One page of the rows; the nearest one there is, if the number is none. `count`: how many there are, if known."""
    paginator = Paginator(rows, size)
    if count is not None:
        paginator.count = count
    return paginator.get_page(number)
