"""The history of loads and items: their turns are written down as events.

Part of the caller's transaction, which holds the locks of the tails: one statement a batch, none where nothing turned.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from fleet.models import Event, Load, Transfer
from fleet.turns import Turn, Was, of_item, of_load, turn
from ifeportal.bulk import insert

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
