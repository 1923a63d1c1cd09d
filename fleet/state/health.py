"""What of a load and its items time alone changes: rates that hold no more, what stalls, waits, is silent or at risk.

Pure: the figures of a row, the airline's thresholds and a clock in, flags out. The rules themselves are in
`fleet.state.rates` and `fleet.state.forecast`; `fleet.ingest.health` reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from fleet.choices import Status
from fleet.state import forecast, rates
from fleet.state.rates import RATE_HOLDS, is_quick


@dataclass(frozen=True, slots=True)
class Terms:
    """By what an airline's loads are judged: its thresholds, the portal's clock, since when it has looked."""

    stalled_after: timedelta
    silent_after: timedelta
    risk_before: timedelta
    now: datetime
    steady_since: datetime


class Flags(NamedTuple):
    """What is decided of a load, named as in the model."""

    stalled: bool
    silent: bool
    waiting: bool
    at_risk: bool
    rate_bps: int | None
    effective_bps: int | None


class Facts(NamedTuple):
    """What a load is judged by, named as in the model; `Flags` as they are."""

    stalled: bool
    silent: bool
    waiting: bool
    at_risk: bool
    rate_bps: int | None
    effective_bps: int | None
    pk: int
    tail_id: int
    status: str
    bytes_done: int
    bytes_total: int | None
    moved_at: datetime | None
    as_of: datetime | None
    effective_since: datetime | None
    effective_base: int
    starts: date | None
    ends: date | None
    seen_at: datetime | None
    awake_since: datetime | None
    heartbeat_at: datetime | None
    loader_state: str
    tail_silent: bool

    @property
    def flags(self) -> Flags:
        """As they are."""
        return Flags._make(self[: len(Flags._fields)])

    @property
    def alive(self) -> Alive:
        """The signs of life of its loader."""
        return signs_of_life(self.heartbeat_at, self.awake_since, self.seen_at)


class ItemFacts(NamedTuple):
    """What an item is judged by. `queued_wakeups`: its load is."""

    stalled: bool
    rate_bps: int | None
    status: str
    moved_at: datetime | None
    waiting: bool
    alive: Alive


def signs_of_life(heartbeat_at: datetime | None, awake_since: datetime | None, seen_at: datetime | None) -> Alive:
    """Those of a tail's loader; without any heartbeat it gives none but its bytes."""
    return Alive() if heartbeat_at is None else Alive(awake_since, seen_at)


def decide(facts: Facts, terms: Terms) -> Flags:
    """What holds of an open load now. Pure."""
    now, since = terms.now, terms.steady_since
    loading = facts.status == Status.LOADING
    silent = is_silent(facts.seen_at, terms.silent_after, now, since, known=facts.tail_silent)
    waiting = is_waiting(facts.loader_state, facts.heartbeat_at, facts.as_of, facts.moved_at, now)
    stalled = not waiting and is_stalled(
        facts.moved_at, facts.alive, terms.stalled_after, now, since, known=facts.stalled
    )
    effective_bps = _effective(facts, now)
    rate_bps = _rate(facts, stalled=loading and stalled, terms=terms)
    left = None if facts.bytes_total is None else facts.bytes_total - facts.bytes_done
    return Flags(
        stalled=loading and stalled,
        silent=loading and silent,
        waiting=loading and waiting,
        at_risk=forecast.is_at_risk(
            facts.status,
            forecast.Exhibition(facts.starts, facts.ends),
            forecast.forecast(left, rate_bps, effective_bps, now),
            terms.risk_before,
            now,
        ),
        rate_bps=rate_bps,
        effective_bps=effective_bps,
    )


def decide_item(facts: ItemFacts, terms: Terms) -> tuple[bool, int | None]:
    """Whether an item has stalled, and the rate that is known of it now."""
    stalled = (
        facts.status == Status.LOADING
        and not facts.waiting
        and is_stalled(
            facts.moved_at, facts.alive, terms.stalled_after, terms.now, terms.steady_since, known=facts.stalled
        )
    )
    return stalled, _rate(facts, stalled=stalled, terms=terms)


def _effective(facts: Facts, now: datetime) -> int | None:
    """It sinks while nothing comes; small steps are not worth a write."""
    found = forecast.effective(facts.effective_since, facts.effective_base, facts.bytes_done, now)
    return found if forecast.differs(facts.effective_bps, found) else facts.effective_bps


def _rate(facts: Facts | ItemFacts, *, stalled: bool, terms: Terms) -> int | None:
    """Nothing is known any more once no byte was seen for `RATE_HOLDS`, and nothing moves in what has stalled."""
    if stalled:
        return 0
    watched = terms.now - terms.steady_since >= RATE_HOLDS
    return None if watched and not rates.is_quick(facts.moved_at, terms.now) else facts.rate_bps


ALIVE_FOR: Final = timedelta(minutes=15)  # three heartbeats: a loader that says nothing for longer was not alive

WAITS: Final = frozenset({"waiting", "paused"})  # states of a loader in which nothing moves, and it says why


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


def _watched(moment: datetime | None, steady_since: datetime) -> datetime:
    return steady_since if moment is None else max(moment, steady_since)
