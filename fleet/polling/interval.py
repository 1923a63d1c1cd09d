"""Interval until the next poll of an airline. Pure: durations in seconds in, one out."""

from __future__ import annotations

from typing import Final

QUIET_SHARE: Final = 10  # after T seconds without a change, the next change is seen at most T/10 late


def next_interval(quiet: float, *, watched: bool, floor: float, ceiling: float, pushed: bool = False) -> float:
    """Return the time from the start of one poll to the next, from `floor` to `ceiling`.

    `quiet` is the time without a change. An airline shown on an open page (`watched`) is polled as often as allowed.
    Where the bucket sends events (`pushed`), listings are only the safety net, watched or not.
    """
    if pushed:
        return ceiling
    if watched:
        return floor
    return min(ceiling, max(floor, quiet / QUIET_SHARE))
