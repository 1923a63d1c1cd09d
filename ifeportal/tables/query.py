"""The query of a long table in its address: search, state, order and page.

Builds conditions and orders, asks the database nothing but a page's rows and their number. An invalid parameter falls
back to the default: a pasted link never fails.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import F, Model, QuerySet, Subquery
from django.db.models.expressions import Expression, OrderBy
from django.http import QueryDict

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


def parse_query(params: QueryDict, columns: Sequence[str], states: Collection[str] = ()) -> TableQuery:
    """Read `q`, `state`, `campaign`, `sort` (a column, with `-` for descending; else the first), `page` and `size`.

    A `state` that is none of `states` selects all rows.
    """
    state, order, size = params.get("state", ""), params.get("sort", ""), params.get("size", "")
    if order.removeprefix("-") not in columns:
        order = columns[0]
    return TableQuery(
        search=_text(params, "q"),
        state=state if state in states else "",
        order=order.removeprefix("-"),
        descending=order.startswith("-"),
        page=params.get("page", "1"),
        campaign=_text(params, "campaign"),
        size=next((known for known in PAGE_SIZES if str(known) == size), PAGE_ROWS),
    )


def parse_columns(params: QueryDict, known: Collection[str], usual: Sequence[str], always: str) -> tuple[str, ...]:
    """Which columns are shown: `always`, and those that `cols` names (often, or with commas between); else the usual.

    They stand in the order of `known`.
    """
    chosen = {word for value in params.getlist("cols") for word in value.split(",")} & {*known}
    return tuple(word for word in known if word == always or word in chosen) if chosen else tuple(usual)


def _text(params: QueryDict, name: str) -> str:
    return params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT]


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
