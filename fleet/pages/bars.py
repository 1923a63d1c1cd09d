"""Widths of the segments of a bar. Pure: counts and percent in, percent out; `static/js/format.js` does the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fleet.choices import State
from fleet.stats.rollup import COUNTED_STATES

# From left to right: complete, loading, flags of loading rows by rising severity, failed, pending.
STATE_ORDER: Final = (*(state for state in reversed(COUNTED_STATES) if state != State.PENDING), State.PENDING.value)


def state_label(state: str) -> str:
    """Return the label of a state of the API."""
    return state.replace("_", " ")


class Parts(NamedTuple):
    """Percent of the bar: complete items, loaded bytes of other items, failed items."""

    done: int
    flight: int
    lost: int


def parts(percent: int | None, items_done: int, items_failed: int, items_total: int | None) -> Parts:
    """Divide the bar of a load, which is filled to its share of loaded bytes.

    The done part is at most the share of complete items. Failed items are at the end, as far as there is space.
    """
    if percent is None or not items_total:
        return Parts(0, percent or 0, 0)
    done = min(percent, 100 * items_done // items_total)
    return Parts(done, percent - done, min(100 - percent, -(-100 * items_failed // items_total)))


class Segment(NamedTuple):
    """Start and width of a state's segment, in percent of the bar."""

    state: str
    start: float
    width: float


def segments(counts: Mapping[str, int]) -> list[Segment]:
    """Divide a bar by the number of rows in each state, in `STATE_ORDER`; a state without rows has no width."""
    total = sum(counts.get(word, 0) for word in STATE_ORDER)
    parts_of_bar, before = [], 0
    for word in STATE_ORDER:
        count = counts.get(word, 0)
        start, end = (round(100 * n / total, 2) if total else 0.0 for n in (before, before + count))
        parts_of_bar.append(Segment(word, start, round(end - start, 2)))
        before += count
    return parts_of_bar
