"""Interval until the next poll of an airline. Pure: durations in seconds in, one out."""

from __future__ import annotations

from typing import Final

QUIET_SHARE: Final = 10  # after a quiet of T seconds, a change is seen at most T/10 later


def next_interval(quiet: float, *, watched: bool, floor: float, ceiling: float, pushed: bool = False) -> float:
    """From the start of one poll to the next, never below `floor`, never above `ceiling` (which is not below `floor`).

    `quiet` is how long nothing new was found. What somebody looks at (`watched`) is polled as often as may be. Where
    the bucket itself tells what changes (`pushed`), listing is but the safety net, whoever looks.
    """
    if pushed:
        return ceiling
    if watched:
        return floor
    return min(ceiling, max(floor, quiet / QUIET_SHARE))
