"""Widths of the segments of a bar. Pure: counts and percent in, percent out; `static/js/format.js` does the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fleet.choices import State
from fleet.stats.rollup import COUNTED_STATES

# From left to right: complete, then loading, then loading with ever weightier flags, then failed; pending is last.
STATE_ORDER: Final = (*(state for state in reversed(COUNTED_STATES) if state != State.PENDING), State.PENDING.value)


def state_label(state: str) -> str:
    """A state of the address as people say it."""
    return state.replace("_", " ")


class Parts(NamedTuple):
    """Percent of a bar's length: items that are whole, what is held of those in flight, items that failed."""

    done: int
    flight: int
    lost: int


def parts(percent: int | None, items_done: int, items_failed: int, items_total: int | None) -> Parts:
    """The parts of a load's bar, which in all is filled as far as its bytes are held.

    Of that at most the share of its whole items is done; what failed stands at the end, as far as there is room.
    """
    if percent is None or not items_total:
        return Parts(0, percent or 0, 0)
    done = min(percent, 100 * items_done // items_total)
    return Parts(done, percent - done, min(100 - percent, -(-100 * items_failed // items_total)))


class Segment(NamedTuple):
    """A state's part of a bar: where it begins and how wide it is, in percent of the bar."""

    state: str
    start: float
    width: float


def segments(counts: Mapping[str, int]) -> list[Segment]:
    """A bar of how many are in each state, in `STATE_ORDER`; states nobody is in have no width."""
    total = sum(counts.get(word, 0) for word in STATE_ORDER)
    found, before = [], 0
    for word in STATE_ORDER:
        count = counts.get(word, 0)
        start, end = (round(100 * n / total, 2) if total else 0.0 for n in (before, before + count))
        found.append(Segment(word, start, round(end - start, 2)))
        before += count
    return found
