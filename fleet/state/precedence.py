"""The one state of a load or transfer: its status, or the weightiest flag on top of `loading`.

In Python (`state_of`) and in SQL (`LOAD_STATE`, `TRANSFER_STATE`, `in_state`), side by side: both must say the same.
Pure; builds conditions and asks the database nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from django.db.models import Case, CharField, F, Q, Value, When

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
    """The one word for a row: its status, or what lies on top of `loading`, the weightiest first.

    `fleet.state.precedence.LOAD_STATE` says the same in SQL.
    """
    if status != "loading":
        return status
    on_top = {
        "silent": silent,
        "stalled": stalled,
        "contradiction": bool(contradiction),
        "waiting": waiting,
        "restarted": restarted,
    }
    return next((word for word, holds in on_top.items() if holds), status)


AT_RISK: Final = "at_risk"

# Words by which rows are chosen: of each row exactly one of `STATES` holds; it may be at risk besides.
STATES: Final = tuple(state.value for state in State)

CHOICES: Final = (*STATES, AT_RISK)

IS_LOADING: Final = Q(status=Status.LOADING)


def _load_flags(path: str = "") -> dict[str, Q]:
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


_TRANSFER_FLAGS: Final[Mapping[str, Q]] = MappingProxyType(
    {
        State.SILENT.value: Q(load__silent=True),
        State.STALLED.value: Q(stalled=True),
        State.CONTRADICTION.value: Q(oversized=True),  # an error that was left behind is one of a complete item
        State.WAITING.value: Q(load__waiting=True),
        State.RESTARTED.value: Q(restarted=True),
    }
)

LOADING_STATES: Final = (*_TRANSFER_FLAGS, State.LOADING.value)  # states of what is loading


def _state_expression(on_top: Mapping[str, Q]) -> Case:
    """The word of `fleet.state.precedence.state_of` in SQL."""
    words = [When(holds, then=Value(word)) for word, holds in on_top.items()]
    return Case(
        When(~IS_LOADING, then=F("status")), *words, default=Value(State.LOADING.value), output_field=CharField()
    )


LOAD_STATE: Final = _state_expression(_load_flags())  # of loads

TRANSFER_STATE: Final = _state_expression(_TRANSFER_FLAGS)  # of transfers


def in_state(state: str, path: str = "") -> Q:
    """Loads (at `path` from the row) in a state of `CHOICES`, each in one of `STATES`; for "" all but deleted ones."""
    return Q(**{f"{path}at_risk": True}) if state == AT_RISK else _in(state, _load_flags(path), path)


def transfer_in_state(state: str) -> Q:
    """The same for transfers; those of a load at risk are at risk."""
    return Q(load__at_risk=True) if state == AT_RISK else _in(state, _TRANSFER_FLAGS)


def _in(state: str, on_top: Mapping[str, Q], path: str = "") -> Q:
    if not state:
        return ~Q(**{f"{path}status": Status.DELETED})
    if state not in LOADING_STATES:
        return Q(**{f"{path}status": state})
    found = Q(**{f"{path}status": Status.LOADING})
    for word, holds in on_top.items():
        if word == state:
            return found & holds
        found &= ~holds
    return found
