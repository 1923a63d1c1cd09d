"""Events of loads and items: another state, another error, or bytes that went down.

The first part is pure: state before and after in, event out. An error that differs from the one before in its digits
only (times, counts, attempts) is the same error. Writing is part of the caller's transaction, which holds the locks of
the tails: one statement a batch, none where there is no event.
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
    """What the history knows of a load or an item at a moment. Bytes; `text` is what its state alone does not say.

    Of a failed one `cause` is what the error is known by when it is told again.
    """

    state: str
    error_code: str = ""
    text: str = ""
    cause: str = ""
    bytes_done: int = 0
    bytes_total: int | None = None
    as_of: datetime | None = None


class EventData(NamedTuple):
    """What is written down, named as in the model."""

    at: datetime
    state: str
    error_code: str
    text: str
    bytes_done: int
    bytes_total: int | None


def transfer_history_state(facts: Transfer | TransferState) -> HistoryState:
    """An item as the history knows it. One that began anew and holds nothing yet has restarted, not begun."""
    status = "loading" if facts.restarted and facts.status == "pending" else facts.status
    contradiction = _OVERSIZED if facts.oversized else ""
    state = state_of(status, stalled=facts.stalled, contradiction=contradiction, restarted=facts.restarted)
    return _history_state(facts, state, contradiction)


def load_history_state(row: Load) -> HistoryState:
    """A load as the history knows it; its tail must be loaded with it. That another item failed is the item's turn."""
    was = _history_state(row, row.state, row.contradiction)
    if was.state == State.WAITING:
        return was._replace(text=row.tail.loader_reason)
    if was.state == State.FAILED and row.error_content:
        return was._replace(text=f"{row.error_content}: {row.error}", cause="")
    return was


def _history_state(facts: Transfer | TransferState | Load, state: str, contradiction: str) -> HistoryState:
    if state == State.FAILED:
        code, text, cause = facts.error_code, facts.error, f"{facts.error_code}: {_DIGITS.sub('0', facts.error)}"
    else:
        code, text, cause = "", Inconsistency(contradiction).label if state == State.CONTRADICTION else "", ""
    return HistoryState(state, code, text, cause, facts.bytes_done, facts.bytes_total, facts.as_of)


def event_between(
    before: HistoryState | None, after: HistoryState, now: datetime, *, decrease_is_event: bool = False
) -> EventData | None:
    """What to write down (None: nothing) where `before` became `after`. `before` is None where it is first met.

    `decrease_is_event`: bytes that went down are a turn. `now` is the portal's clock, taken where no object told of the
    turn.
    """
    fell = decrease_is_event and before is not None and after.bytes_done < before.bytes_done
    if before is not None and not fell and (after.state, after.cause) == (before.state, before.cause):
        return None
    told = after.as_of is not None and (before is None or after.as_of != before.as_of)
    return EventData(
        at=after.as_of if told and after.as_of is not None else now,
        state=after.state,
        error_code=after.error_code,
        text=after.text or _sentence(before, after.state, fell=fell),
        bytes_done=after.bytes_done,
        bytes_total=after.bytes_total,
    )


def _sentence(before: HistoryState | None, state: str, *, fell: bool) -> str:
    if before is None:
        return ""
    if fell:
        return f"It began anew; before it held {formatting.size(before.bytes_done)}."
    if state == State.LOADING and before.state in _PAUSED_STATES:
        return f"It goes on; before it was {State(before.state).label}."
    return "Its error is gone." if before.state == State.FAILED != state else ""


EVENT_COLUMNS: Final = ("load_id", "content", *EventData._fields)

EventRow = tuple[int, str, EventData]  # the id of a load, an item of it or "", and what is written down


def record_load_events(pairs: Iterable[tuple[HistoryState | None, Load]], now: datetime) -> None:
    """Write what turned of these loads, each with what `load_history_state` said of it before (None: it is new)."""
    write_events(load_events(pairs, now))


def record_transfer_events(pairs: Iterable[tuple[HistoryState, Transfer]], now: datetime) -> None:
    """Write what turned of these items, each with what `transfer_history_state` said of it before."""
    told = ((row, event_between(was, transfer_history_state(row), now, decrease_is_event=True)) for was, row in pairs)
    write_events((row.load_id, row.content, each) for row, each in told if each is not None)


def load_events(pairs: Iterable[tuple[HistoryState | None, Load]], now: datetime) -> list[EventRow]:
    """What is to be written down of these loads."""
    told = ((row, event_between(was, load_history_state(row), now)) for was, row in pairs)
    return [(row.pk, "", each) for row, each in told if each is not None]


def write_events(told: Iterable[EventRow]) -> None:
    """Write events down, as part of the caller's transaction."""
    insert(Event, EVENT_COLUMNS, [(load, content, *each) for load, content, each in told])
