"""Events of loads and items: a new state, another error, or bytes that went down.

The first part is pure: state before and after in, event out. An error that differs from the one before only in its
digits (times, counts, attempts) is the same error. Writing is part of the caller's transaction, which holds the locks
of the tails: one statement per batch, none without events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from fleet.choices import Inconsistency, State
from fleet.models import Event, Load, Transfer
from fleet.state.precedence import state_of
from fleet.state.transfer import TransferState
from ifeportal import formatting
from ifeportal.bulk import insert

_DIGITS: Final = re.compile(r"\d+")
_PAUSED_STATES: Final = frozenset({State.STALLED, State.SILENT, State.WAITING, State.CONTRADICTION})
_OVERSIZED: Final = Inconsistency.OVERSIZED.value


class HistoryState(NamedTuple):
    """The state of a load or an item as the history records it. Bytes; `text` is what the state alone does not say.

    `cause` identifies the error of a failed one when it is reported again.
    """

    state: str
    error_code: str = ""
    text: str = ""
    cause: str = ""
    bytes_done: int = 0
    bytes_total: int | None = None
    as_of: datetime | None = None


class EventData(NamedTuple):
    """The columns of an event, named as in the model."""

    at: datetime
    state: str
    error_code: str
    text: str
    bytes_done: int
    bytes_total: int | None


def transfer_history_state(facts: Transfer | TransferState) -> HistoryState:
    """Return an item's state for the history. One that restarted and has no bytes yet is restarted, not pending."""
    status = "loading" if facts.restarted and facts.status == "pending" else facts.status
    contradiction = _OVERSIZED if facts.oversized else ""
    state = state_of(status, stalled=facts.stalled, contradiction=contradiction, restarted=facts.restarted)
    return _history_state(facts, state, contradiction)


def load_history_state(row: Load) -> HistoryState:
    """Return a load's state for the history; its tail must be loaded with it.

    No `cause` where an item failed: another failed item is an event of that item, not of the load.
    """
    state = _history_state(row, row.state, row.contradiction)
    if state.state == State.WAITING:
        return state._replace(text=row.tail.loader_reason)
    if state.state == State.FAILED and row.error_content:
        return state._replace(text=f"{row.error_content}: {row.error}", cause="")
    return state


def _history_state(facts: Transfer | TransferState | Load, state: str, contradiction: str) -> HistoryState:
    if state == State.FAILED:
        code, text, cause = facts.error_code, facts.error, f"{facts.error_code}: {_DIGITS.sub('0', facts.error)}"
    else:
        code, text, cause = "", Inconsistency(contradiction).label if state == State.CONTRADICTION else "", ""
    return HistoryState(state, code, text, cause, facts.bytes_done, facts.bytes_total, facts.as_of)


def event_between(
    before: HistoryState | None, after: HistoryState, now: datetime, *, decrease_is_event: bool = False
) -> EventData | None:
    """Return the event (None: none) where `before` became `after`. `before` is None for a new row.

    `decrease_is_event`: bytes that went down are an event. `now` is the portal's clock, used where no object dates the
    change.
    """
    decreased = decrease_is_event and before is not None and after.bytes_done < before.bytes_done
    if before is not None and not decreased and (after.state, after.cause) == (before.state, before.cause):
        return None
    dated = after.as_of is not None and (before is None or after.as_of != before.as_of)
    return EventData(
        at=after.as_of if dated and after.as_of is not None else now,
        state=after.state,
        error_code=after.error_code,
        text=after.text or _sentence(before, after.state, decreased=decreased),
        bytes_done=after.bytes_done,
        bytes_total=after.bytes_total,
    )


def _sentence(before: HistoryState | None, state: str, *, decreased: bool) -> str:
    if before is None:
        return ""
    if decreased:
        return f"Restarted from 0 (had {formatting.size(before.bytes_done)})."
    if state == State.LOADING and before.state in _PAUSED_STATES:
        return f"Resumed after {State(before.state).label}."
    return "Error cleared." if before.state == State.FAILED != state else ""


EVENT_COLUMNS: Final = ("load_id", "content", *EventData._fields)

EventRow = tuple[int, str, EventData]  # the id of a load, an item of it or "", and the event


def record_load_events(pairs: Iterable[tuple[HistoryState | None, Load]], now: datetime) -> None:
    """Write the events of these loads, each with its `load_history_state` of before (None: it is new)."""
    write_events(load_events(pairs, now))


def record_transfer_events(pairs: Iterable[tuple[HistoryState, Transfer]], now: datetime) -> None:
    """Write the events of these items, each with its `transfer_history_state` of before."""
    events = (
        (row, event_between(before, transfer_history_state(row), now, decrease_is_event=True)) for before, row in pairs
    )
    write_events((row.load_id, row.content, event) for row, event in events if event is not None)


def load_events(pairs: Iterable[tuple[HistoryState | None, Load]], now: datetime) -> list[EventRow]:
    """Return the events of these loads, each with its `load_history_state` of before (None: it is new)."""
    events = ((row, event_between(before, load_history_state(row), now)) for before, row in pairs)
    return [(row.pk, "", event) for row, event in events if event is not None]


def write_events(events: Iterable[EventRow]) -> None:
    """Write events as part of the caller's transaction."""
    insert(Event, EVENT_COLUMNS, [(load, content, *each) for load, content, each in events])
