"""The one state of a load or transfer: its status, or the most severe flag on top of `loading`. A tail's primary load.

Computed in Python (`state_of`) and in SQL (`LOAD_STATE`, `TRANSFER_STATE`, `in_state`); both must agree. Pure: builds
conditions and runs no query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db.models import Case, CharField, F, Q, Value, When
from django.db.models.expressions import OrderBy

from fleet.choices import State, Status


def state_of(
    status: str,
    *,
    silent: bool = False,
    stalled: bool = False,
    contradiction: str = "",
    waiting: bool = False,
    restarted: bool = False,
) -> str:
    """Return the state of a row: its status, or the most severe flag on top of `loading`.

    `LOAD_STATE` is the same in SQL.
    """
    if status != "loading":
        return status
    flags = {
        "silent": silent,
        "stalled": stalled,
        "contradiction": bool(contradiction),
        "waiting": waiting,
        "restarted": restarted,
    }
    return next((word for word, holds in flags.items() if holds), status)


AT_RISK: Final = "at_risk"

# Filters of rows: exactly one of `STATES` applies to a row, which may also be at risk.
STATES: Final = tuple(state.value for state in State)

CHOICES: Final = (*STATES, AT_RISK)

IS_LOADING: Final = Q(status=Status.LOADING)


def _load_flags(path: str = "") -> dict[str, Q]:
    """Return the flags on top of `loading`, the most severe first, of loads at `path`. Same order as `state_of`."""
    return {
        State.SILENT.value: Q(**{f"{path}silent": True}),
        State.STALLED.value: Q(**{f"{path}stalled": True}),
        State.CONTRADICTION.value: ~Q(**{f"{path}contradiction": ""}),
        State.WAITING.value: Q(**{f"{path}waiting": True}),
        State.RESTARTED.value: Q(**{f"{path}restarted": True}),
    }


def _transfer_flags(path: str = "", load: str = "load__") -> dict[str, Q]:
    """Return the flags on top of `loading` of transfers at `path`, whose load is at `load`."""
    return {
        State.SILENT.value: Q(**{f"{load}silent": True}),
        State.STALLED.value: Q(**{f"{path}stalled": True}),
        State.CONTRADICTION.value: Q(**{f"{path}oversized": True}),  # not `error_past`: that is of a complete item
        State.WAITING.value: Q(**{f"{load}waiting": True}),
        State.RESTARTED.value: Q(**{f"{path}restarted": True}),
    }


LOADING_STATES: Final = (*_transfer_flags(), State.LOADING.value)  # states of rows that are loading


def _state_expression(flags: Mapping[str, Q]) -> Case:
    """Return the result of `state_of` in SQL."""
    words = [When(holds, then=Value(word)) for word, holds in flags.items()]
    return Case(
        When(~IS_LOADING, then=F("status")), *words, default=Value(State.LOADING.value), output_field=CharField()
    )


def _rank_expression(flags: Mapping[str, Q]) -> Case:
    """Return the place in `STATES` of the result of `state_of` in SQL."""
    rank = {state: Value(place) for place, state in enumerate(STATES)}
    statuses = [When(status=status, then=rank[status]) for status in Status.values if status != Status.LOADING]
    words = [When(holds, then=rank[word]) for word, holds in flags.items()]
    return Case(*statuses, *words, default=rank[State.LOADING.value])


LOAD_STATE: Final = _state_expression(_load_flags())

TRANSFER_STATE: Final = _state_expression(_transfer_flags())

LOAD_RANK: Final = _rank_expression(_load_flags())

TRANSFER_RANK: Final = _rank_expression(_transfer_flags())


def in_state(state: str, path: str = "") -> Q:
    """Return the condition for loads (at `path` from the row) in a state of `CHOICES`; "" for all but deleted ones."""
    return Q(**{f"{path}at_risk": True}) if state == AT_RISK else _in(state, _load_flags(path), path)


def transfer_in_state(state: str, path: str = "", load: str = "load__") -> Q:
    """Return the condition for transfers (at `path` from the row) in a state of `CHOICES`; "" for all but deleted ones.

    Those at risk are those of loads (at `load` from the row) at risk.
    """
    if state == AT_RISK:
        return Q(**{f"{load}at_risk": True})
    return _in(state, _transfer_flags(path, load), path)


def _in(state: str, flags: Mapping[str, Q], path: str = "") -> Q:
    if not state:
        return ~Q(**{f"{path}status": Status.DELETED})
    if state not in LOADING_STATES:
        return Q(**{f"{path}status": state})
    found = Q(**{f"{path}status": Status.LOADING})
    for word, holds in flags.items():
        if word == state:
            return found & holds
        found &= ~holds
    return found


def primary_load_order() -> list[OrderBy]:
    """Order a tail's loads, primary load first: loading ones by nearest exhibition, then the others by last report."""
    return [
        Case(When(IS_LOADING, then=Value(0)), default=Value(1)).asc(),
        Case(When(IS_LOADING, then=F("campaign__exhibition_starts"))).asc(nulls_last=True),
        Case(When(~IS_LOADING, then=F("as_of"))).desc(nulls_last=True),
        F("pk").desc(),
    ]
