"""What of a long table is asked for: search, state, order and page, all of it in the address.

Builds conditions and orders, asks the database nothing but a page's rows and their number. What an address says
wrongly falls back to the default: a pasted link never fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Case, CharField, F, FloatField, Model, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Expression, OrderBy
from django.db.models.functions import Cast, NullIf
from django.db.models.lookups import Exact
from django.http import QueryDict

from fleet.choices import State, Status

PAGE_SIZES: Final = (50, 100, 200, 500, 1_000)
PAGE_ROWS: Final = PAGE_SIZES[0]
SEARCH_LIMIT: Final = 200
AT_RISK: Final = "at_risk"
# Words by which rows are chosen: of each row exactly one of `STATES` holds; it may be at risk besides.
STATES: Final = tuple(state.value for state in State)
CHOICES: Final = (*STATES, AT_RISK)
MOVING: Final = Q(status=Status.LOADING)


def _on_loads(path: str = "") -> dict[str, Q]:
    """What lies on top of `loading`, the weightiest first, as `fleet.state.precedence.state_of` has it; of loads at
    `path`.
    """
    return {
        State.SILENT.value: Q(**{f"{path}silent": True}),
        State.STALLED.value: Q(**{f"{path}stalled": True}),
        State.CONTRADICTION.value: ~Q(**{f"{path}contradiction": ""}),
        State.WAITING.value: Q(**{f"{path}waiting": True}),
        State.RESTARTED.value: Q(**{f"{path}restarted": True}),
    }


_ON_ITEMS: Final[Mapping[str, Q]] = MappingProxyType(
    {
        State.SILENT.value: Q(load__silent=True),
        State.STALLED.value: Q(stalled=True),
        State.CONTRADICTION.value: Q(oversized=True),  # an error that was left behind is one of a complete item
        State.WAITING.value: Q(load__waiting=True),
        State.RESTARTED.value: Q(restarted=True),
    }
)
ON_TOP: Final = (*_ON_ITEMS, State.LOADING.value)  # states of what is loading


def _word(on_top: Mapping[str, Q]) -> Case:
    """The word of `fleet.state.precedence.state_of` in SQL."""
    words = [When(holds, then=Value(word)) for word, holds in on_top.items()]
    return Case(When(~MOVING, then=F("status")), *words, default=Value(State.LOADING.value), output_field=CharField())


STATE: Final = _word(_on_loads())  # of loads
TRANSFER_STATE: Final = _word(_ON_ITEMS)  # of transfers


def _rank(word: Case) -> Case:
    """The states in order of weight."""
    return Case(*(When(Exact(word, state), then=Value(rank)) for rank, state in enumerate(STATES)))


_SHARE = Cast("bytes_done", FloatField()) / NullIf(Cast("bytes_total", FloatField()), Value(0.0))
_LEFT = Cast(F("bytes_total") - F("bytes_done"), FloatField()) / NullIf(Cast("rate_bps", FloatField()), Value(0.0))
_MEASURED: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {
        "percent": Case(When(status=Status.COMPLETE, then=Value(1.0)), default=_SHARE),
        "bytes": F("bytes_done"),
        "rate": F("rate_bps"),
        "eta": Case(When(MOVING & Q(stalled=False), then=_LEFT)),
        "as_of": F("as_of"),
    }
)
# Columns that transfers and loads can be ordered by: the word in the address, and what of the row it means.
ITEM: Final[Mapping[str, Expression | F]] = MappingProxyType({"status": _rank(TRANSFER_STATE), **_MEASURED})
LOAD: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {"status": _rank(STATE), **_MEASURED, "items": F("items_done")}
)

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Choice:
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
    def narrowed(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.search or self.state)


def choice_of(params: QueryDict, columns: Sequence[str], states: Collection[str] = ()) -> Choice:
    """Read `q`, `state`, `campaign`, `sort` (a column, with `-` for descending; else the first), `page` and `size`.

    A `state` that is none of `states` selects all rows.
    """
    state, order, size = params.get("state", ""), params.get("sort", ""), params.get("size", "")
    if order.removeprefix("-") not in columns:
        order = columns[0]
    return Choice(
        search=_text(params, "q"),
        state=state if state in states else "",
        order=order.removeprefix("-"),
        descending=order.startswith("-"),
        page=params.get("page", "1"),
        campaign=_text(params, "campaign"),
        size=next((known for known in PAGE_SIZES if str(known) == size), PAGE_ROWS),
    )


def columns_of(params: QueryDict, known: Collection[str], usual: Sequence[str], always: str) -> tuple[str, ...]:
    """Which columns are shown: `always`, and those that `cols` names (often, or with commas between); else the usual.

    They stand in the order of `known`.
    """
    chosen = {word for value in params.getlist("cols") for word in value.split(",")} & {*known}
    return tuple(word for word in known if word == always or word in chosen) if chosen else tuple(usual)


def _text(params: QueryDict, name: str) -> str:
    return params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT]


def in_state(state: str, path: str = "") -> Q:
    """Loads (at `path` from the row) in a state of `CHOICES`, each in one of `STATES`; for "" all but deleted ones."""
    return Q(**{f"{path}at_risk": True}) if state == AT_RISK else _in(state, _on_loads(path), path)


def item_in_state(state: str) -> Q:
    """The same for transfers; those of a load at risk are at risk."""
    return Q(load__at_risk=True) if state == AT_RISK else _in(state, _ON_ITEMS)


def _in(state: str, on_top: Mapping[str, Q], path: str = "") -> Q:
    if not state:
        return ~Q(**{f"{path}status": Status.DELETED})
    if state not in ON_TOP:
        return Q(**{f"{path}status": state})
    found = Q(**{f"{path}status": Status.LOADING})
    for word, holds in on_top.items():
        if word == state:
            return found & holds
        found &= ~holds
    return found


def ordered(column: Expression | F | Subquery, choice: Choice) -> OrderBy:
    """By that column, the choice's way round; rows without a value come last either way."""
    if choice.descending:
        return OrderBy(column, descending=True, nulls_last=True)
    return OrderBy(column, nulls_last=True)


def page_of(rows: QuerySet[M], number: str, size: int = PAGE_ROWS, count: int | None = None) -> Page[M]:
    """One page of the rows; the nearest one there is, if the number is none. `count`: how many there are, if known."""
    paginator = Paginator(rows, size)
    if count is not None:
        paginator.count = count
    return paginator.get_page(number)
