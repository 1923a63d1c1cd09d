"""How quickly bytes arrive, and what it means if none do: observed figures in, rates and states out. Pure.

All moments that are subtracted from one another are those of the portal's own clock at which it saw something new: two
machines' clocks never are. `steady_since` is since when the portal has looked without a long gap: time before that is
not held against anybody, as nobody saw what happened; what was known before it lasts until something new is seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loader.contract.item_reports import COUNT_LIMIT

ALIVE_FOR: Final = timedelta(minutes=15)  # three heartbeats: a loader that says nothing for longer was not alive
WAITS: Final = frozenset({"waiting", "paused"})  # states of a loader in which nothing moves, and it says why
RATE_HOLDS: Final = timedelta(minutes=3)  # then a rate and the time left rest on nothing any more
WINDOW: Final = timedelta(seconds=60)
MEMORY: Final = 20.0  # seconds after which an old rate weighs e times less than a new one


@dataclass(frozen=True, slots=True)
class Sample:
    """`bytes_done` as seen at a moment."""

    at: datetime
    bytes_done: int


def over_window(samples: Sequence[Sample]) -> int | None:
    """Bytes per second from the oldest to the newest of `samples` (in order of time); None if they cannot tell.

    A restart (bytes went down) begins anew: what was before says nothing of what comes.
    """
    since = 0
    for index in range(1, len(samples)):
        if samples[index].bytes_done < samples[index - 1].bytes_done:
            since = index
    if len(samples) - since < 2:
        return None
    first, last = samples[since], samples[-1]
    return _rate(last.bytes_done - first.bytes_done, (last.at - first.at).total_seconds())


def smoothed(before: int | None, moved: int, seconds: float) -> int | None:
    """The new rate after `moved` more bytes in `seconds`, given the rate `before`; None after a step back."""
    if moved < 0:
        return None
    latest = _rate(moved, seconds)
    if latest is None or before is None:
        return before if latest is None else latest
    weight = math.exp(-seconds / MEMORY)
    return min(int(before * weight + latest * (1 - weight)), COUNT_LIMIT)


def _rate(moved: int, seconds: float) -> int | None:
    return min(int(moved / seconds), COUNT_LIMIT) if seconds > 0 else None


def is_silent(
    seen_at: datetime | None, after: timedelta, now: datetime, steady_since: datetime, *, known: bool = False
) -> bool:
    """Whether nothing new was seen of a tail for `after`. `known`: that was so before; `seen_at` None: ever."""
    if known:
        return seen_at is None or now - seen_at >= after
    return now - _watched(seen_at, steady_since) >= after


@dataclass(frozen=True, slots=True)
class Alive:
    """Signs of life of a loader, whatever they were: since when without a gap of `ALIVE_FOR`, and the last one.

    None, None: it gives no other sign of life than its bytes (it never wrote a heartbeat), so that all time counts.
    """

    since: datetime | None = None
    last: datetime | None = None


def is_stalled(
    moved_at: datetime | None,
    alive: Alive,
    after: timedelta,
    now: datetime,
    steady_since: datetime,
    *,
    known: bool = False,
) -> bool:
    """Whether no byte came for `after`, though its loader was alive all that time. Only of what is loading.

    An aircraft that was switched off right after its last byte has not stalled, nor one that was switched on just now;
    one that had stalled is stalled still. `known`: it was stalled before.
    """
    end = now if alive.last is None else min(alive.last, now)
    if known:
        return moved_at is None or end - moved_at >= after
    return end - _watched(moved_at, _watched(alive.since, steady_since)) >= after


def is_waiting(
    loader_state: str, said_at: datetime | None, as_of: datetime | None, moved_at: datetime | None, now: datetime
) -> bool:
    """Whether no byte moves and its loader says that it waits or is paused. Only of what is loading.

    `said_at` and `as_of` are the LastModified of its heartbeat and of the newest byte: of one clock, the store's. A
    byte that came later than the heartbeat counts for `RATE_HOLDS`.
    """
    if loader_state not in WAITS or said_at is None:
        return False
    return as_of is None or as_of <= said_at or not is_quick(moved_at, now)


def is_quick(moved_at: datetime | None, now: datetime) -> bool:
    """Whether a rate still holds that rests on a byte seen at `moved_at`."""
    return moved_at is not None and now - moved_at < RATE_HOLDS


def _watched(moment: datetime | None, steady_since: datetime) -> datetime:
    return steady_since if moment is None else max(moment, steady_since)


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

    `fleet.listing.STATE` says the same in SQL.
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
