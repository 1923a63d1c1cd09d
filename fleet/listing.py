"""What of a long table is asked for: search, state, order and page, all of it in the address.

Builds conditions and orders, asks the database nothing but a page's rows and their number. What an address says
wrongly falls back to the default: a pasted link never fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Case, F, FloatField, Model, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Expression, OrderBy
from django.db.models.functions import Cast, NullIf
from django.http import QueryDict

from fleet.models import Status

PAGE_ROWS: Final = 50
SEARCH_LIMIT: Final = 200
STALLED: Final = "stalled"
STATES: Final = (Status.FAILED.value, STALLED, *(s.value for s in (Status.LOADING, Status.PENDING, Status.COMPLETE)))
MOVING: Final = Q(status=Status.LOADING)

_RANKS = (Status.FAILED, Status.LOADING, Status.PENDING, Status.COMPLETE, Status.DELETED)
_SHARE = Cast("bytes_done", FloatField()) / NullIf(Cast("bytes_total", FloatField()), Value(0.0))
_LEFT = Cast(F("bytes_total") - F("bytes_done"), FloatField()) / NullIf(Cast("rate_bps", FloatField()), Value(0.0))
# Columns any measured row can be ordered by: the word in the address, and what of the row it means.
MEASURED: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {
        "status": Case(*(When(status=status, then=Value(rank)) for rank, status in enumerate(_RANKS))),
        "percent": Case(When(status=Status.COMPLETE, then=Value(1.0)), default=_SHARE),
        "bytes": F("bytes_done"),
        "rate": F("rate_bps"),
        "eta": Case(When(MOVING & Q(stalled=False), then=_LEFT)),
        "as_of": F("as_of"),
    }
)
LOAD: Final[Mapping[str, Expression | F]] = MappingProxyType({**MEASURED, "items": F("items_done")})

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Choice:
    """What the address asks for. `order` is one of the table's columns, `state` one of `STATES` or ""."""

    search: str
    state: str
    order: str
    descending: bool
    page: str

    @property
    def narrowed(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.search or self.state)


def choice_of(params: QueryDict, columns: Sequence[str]) -> Choice:
    """Read `q`, `status`, `sort` (a column, `-` before it for descending; else the first one) and `page`."""
    state, order = params.get("status", ""), params.get("sort", "")
    if order.removeprefix("-") not in columns:
        order = columns[0]
    return Choice(
        search=params.get("q", "").replace("\0", "").strip()[:SEARCH_LIMIT],
        state=state if state in STATES else "",
        order=order.removeprefix("-"),
        descending=order.startswith("-"),
        page=params.get("page", "1"),
    )


def in_state(state: str) -> Q:
    """Rows of a state of `STATES`; for "" every row but deleted ones. As in the API, what is stalled is loading too."""
    if state == STALLED:
        return Q(stalled=True)
    return Q(status=state) if state else ~Q(status=Status.DELETED)


def ordered(column: Expression | F | Subquery, choice: Choice) -> OrderBy:
    """By that column, the choice's way round; rows without a value come last either way."""
    if choice.descending:
        return OrderBy(column, descending=True, nulls_last=True)
    return OrderBy(column, nulls_last=True)


def page_of(rows: QuerySet[M], number: str, size: int = PAGE_ROWS) -> Page[M]:
    """One page of the rows; the nearest one there is, if the number is none."""
    return Paginator(rows, size).get_page(number)
