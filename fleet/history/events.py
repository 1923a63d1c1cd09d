"""When a load or an item turns, and how that is told. Pure: what it was and what it is in, what to write down out.

A turn is another state, another error, or bytes that went down. An error that differs from the one before in its digits
only (times, counts, attempts) is the same one told again.
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
_PAUSES: Final = frozenset({State.STALLED, State.SILENT, State.WAITING, State.CONTRADICTION})
_OVERSIZED: Final = Inconsistency.OVERSIZED.value


class Was(NamedTuple):
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


class Turn(NamedTuple):
    """What is written down, named as in the model."""

    at: datetime
    state: str
    error_code: str
    text: str
    bytes_done: int
    bytes_total: int | None


def of_item(facts: Transfer | TransferState) -> Was:
    """An item as the history knows it. One that began anew and holds nothing yet has restarted, not begun."""
    status = "loading" if facts.restarted and facts.status == "pending" else facts.status
    contradiction = _OVERSIZED if facts.oversized else ""
    state = state_of(status, stalled=facts.stalled, contradiction=contradiction, restarted=facts.restarted)
    return _was(facts, state, contradiction)


def of_load(row: Load) -> Was:
    """A load as the history knows it; its tail must be loaded with it. That another item failed is the item's turn."""
    state = state_of(
        row.status,
        silent=row.silent,
        stalled=row.stalled,
        contradiction=row.contradiction,
        waiting=row.waiting,
        restarted=row.restarted,
    )
    was = _was(row, state, row.contradiction)
    if state == State.WAITING:
        return was._replace(text=row.tail.loader_reason)
    if state == State.FAILED and row.error_content:
        return was._replace(text=f"{row.error_content}: {row.error}", cause="")
    return was


def _was(facts: Transfer | TransferState | Load, state: str, contradiction: str) -> Was:
    if state == State.FAILED:
        code, text, cause = facts.error_code, facts.error, f"{facts.error_code}: {_DIGITS.sub('0', facts.error)}"
    else:
        code, text, cause = "", Inconsistency(contradiction).label if state == State.CONTRADICTION else "", ""
    return Was(state, code, text, cause, facts.bytes_done, facts.bytes_total, facts.as_of)


def turn(before: Was | None, after: Was, now: datetime, *, back: bool = False) -> Turn | None:
    """What to write down (None: nothing) where `before` became `after`. `before` is None where it is first met.

    `back`: bytes that went down are a turn. `now` is the portal's clock, taken where no object told of the turn.
    """
    fell = back and before is not None and after.bytes_done < before.bytes_done
    if before is not None and not fell and (after.state, after.cause) == (before.state, before.cause):
        return None
    told = after.as_of is not None and (before is None or after.as_of != before.as_of)
    return Turn(
        at=after.as_of if told and after.as_of is not None else now,
        state=after.state,
        error_code=after.error_code,
        text=after.text or _sentence(before, after.state, fell=fell),
        bytes_done=after.bytes_done,
        bytes_total=after.bytes_total,
    )


def _sentence(before: Was | None, state: str, *, fell: bool) -> str:
    if before is None:
        return ""
    if fell:
        return f"It began anew; before it held {formatting.size(before.bytes_done)}."
    if state == State.LOADING and before.state in _PAUSES:
        return f"It goes on; before it was {State(before.state).label}."
    return "Its error is gone." if before.state == State.FAILED != state else ""


NAMES: Final = ("load_id", "content", *Turn._fields)

Told = tuple[int, str, Turn]  # the id of a load, an item of it or "", and what is written down


def load_turns(pairs: Iterable[tuple[Was | None, Load]], now: datetime) -> None:
    """Write what turned of these loads, each with what `turns.of_load` said of it before (None: it is new)."""
    write(turned_loads(pairs, now))


def item_turns(pairs: Iterable[tuple[Was, Transfer]], now: datetime) -> None:
    """Write what turned of these items, each with what `turns.of_item` said of it before."""
    told = ((row, turn(was, of_item(row), now, back=True)) for was, row in pairs)
    write((row.load_id, row.content, each) for row, each in told if each is not None)


def turned_loads(pairs: Iterable[tuple[Was | None, Load]], now: datetime) -> list[Told]:
    """What is to be written down of these loads."""
    told = ((row, turn(was, of_load(row), now)) for was, row in pairs)
    return [(row.pk, "", each) for row, each in told if each is not None]


def write(told: Iterable[Told]) -> None:
    """Write events down, as part of the caller's transaction."""
    insert(Event, NAMES, [(load, content, *each) for load, content, each in told])
