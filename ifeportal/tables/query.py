"""The query string of a long table: search, state, order and page.

Builds conditions and orders; the only queries are a page's rows and their number. An invalid parameter falls back to
the default, so that a pasted link never fails; only a search text that is too long is refused.
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
from ifeportal.tables.search import SEARCH_LIMIT, check_search

PAGE_SIZES: Final = (50, 100, 200, 500, 1_000)
PAGE_ROWS: Final = PAGE_SIZES[0]


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class TableQuery:
    """A parsed query string. `order` is one of the table's columns, `state` one of its states or "".

    `campaign` may be any text; `size`, the rows per page, is one of `PAGE_SIZES`.
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
        return bool(self.search or self.state)


def parse_query(params: QueryDict, table: Table, states: Collection[str] = ()) -> TableQuery:
    """Read `q`, `state`, `campaign`, `sort` (a column of the table, with `-` for descending), `page` and `size`.

    A `state` that is none of `states` selects all rows. Raises SearchTooLong.
    """
    state, order, size = params.get("state", ""), params.get("sort", ""), params.get("size", "")
    if order.removeprefix("-") not in table.orders:
        order = table.order
    return TableQuery(
        search=check_search(params.get("q", "")),
        state=state if state in states else "",
        order=order.removeprefix("-"),
        descending=order.startswith("-"),
        page=params.get("page", "1"),
        campaign=_text(params, "campaign"),
        size=next((known for known in PAGE_SIZES if str(known) == size), PAGE_ROWS),
    )


def parse_columns(params: QueryDict, table: Table) -> tuple[str, ...]:
    """Return the columns to show, in the order of the page: the first one, and those in `cols`; by default the usual.

    `cols` may be repeated and may list several columns, separated by commas.
    """
    chosen = {word for value in params.getlist("cols") for word in value.split(",")} & {*table.shown}
    if not chosen:
        return table.default_columns
    return tuple(word for word in table.shown if word == table.required_column or word in chosen)


def _text(params: QueryDict, name: str) -> str:
    return params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT]


def search_condition(table: Table, query: TableQuery) -> Q:
    """Return the condition that any searchable column matches the search text; no condition without one."""
    lookups = [column.search for column in table.columns if column.search] if query.search else []
    return Q(*((lookup, query.search) for lookup in lookups), _connector=Q.OR)


def select_rows(rows: QuerySet[M], table: Table, query: TableQuery, *then: str) -> QuerySet[M]:
    """Return the rows that match the search, in the requested order and then by `then`."""
    return rows.filter(search_condition(table, query)).order_by(order_by(table.sort_of(query.order), query), *then)


def order_by(column: Expression | F | Subquery, query: TableQuery) -> OrderBy:
    """Return the order by that column, in the query's direction; rows without a value come last either way."""
    if query.descending:
        return OrderBy(column, descending=True, nulls_last=True)
    return OrderBy(column, nulls_last=True)


def paginate(rows: QuerySet[M], number: str, size: int = PAGE_ROWS, count: int | None = None) -> Page[M]:
    """Return a page of the rows; the nearest one for an invalid number. `count`: the number of rows, if known."""
    paginator = Paginator(rows, size)
    if count is not None:
        paginator.count = count
    return paginator.get_page(number)
