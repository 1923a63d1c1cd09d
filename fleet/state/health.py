"""Time-based flags of loads and items: stalled, silent, waiting, at risk, and rates that have expired. Pure.

All timestamps that are subtracted from one another are those of the portal's own clock at which it saw something new:
two machines' clocks never are. `uninterrupted_since` is since when the portal has polled without a long gap: time
before that counts against no tail, and a flag set before it lasts until something new is seen. `fleet.ingest.health`
reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from fleet.choices import Status
from fleet.state import forecast, rates
from fleet.state.rates import RATE_VALID_FOR, is_rate_current


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """By what an airline's loads are judged: its thresholds, the portal's clock, since when it has looked."""

    stalled_after: timedelta
    silent_after: timedelta
    risk_before: timedelta
    now: datetime
    uninterrupted_since: datetime


class LoadHealth(NamedTuple):
    """What is decided of a load, named as in the model."""

    stalled: bool
    silent: bool
    waiting: bool
    at_risk: bool
    rate_bps: int | None
    effective_bps: int | None


class LoadInputs(NamedTuple):
    """What a load is judged by, named as in the model; `LoadHealth` as they are."""

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
    def health(self) -> LoadHealth:
        """As they are."""
        return LoadHealth._make(self[: len(LoadHealth._fields)])

    @property
    def activity(self) -> LoaderActivity:
        """The signs of life of its loader."""
        return loader_activity(self.heartbeat_at, self.awake_since, self.seen_at)


class TransferInputs(NamedTuple):
    """What an item is judged by. `waiting`: its load is."""

    stalled: bool
    rate_bps: int | None
    status: str
    moved_at: datetime | None
    waiting: bool
    activity: LoaderActivity


def loader_activity(
    heartbeat_at: datetime | None, awake_since: datetime | None, seen_at: datetime | None
) -> LoaderActivity:
    """Those of a tail's loader; without any heartbeat it gives none but its bytes."""
    return LoaderActivity() if heartbeat_at is None else LoaderActivity(awake_since, seen_at)


def evaluate_load(inputs: LoadInputs, policy: HealthPolicy) -> LoadHealth:
    """What holds of an open load now. Pure."""
    now, since = policy.now, policy.uninterrupted_since
    loading = inputs.status == Status.LOADING
    silent = is_silent(inputs.seen_at, policy.silent_after, now, since, known=inputs.tail_silent)
    waiting = is_waiting(inputs.loader_state, inputs.heartbeat_at, inputs.as_of, inputs.moved_at, now)
    stalled = not waiting and is_stalled(
        inputs.moved_at, inputs.activity, policy.stalled_after, now, since, known=inputs.stalled
    )
    effective_bps = _effective_rate(inputs, now)
    rate_bps = _current_rate(inputs, stalled=loading and stalled, policy=policy)
    left = None if inputs.bytes_total is None else inputs.bytes_total - inputs.bytes_done
    return LoadHealth(
        stalled=loading and stalled,
        silent=loading and silent,
        waiting=loading and waiting,
        at_risk=forecast.is_at_risk(
            inputs.status,
            forecast.ExhibitionDates(inputs.starts, inputs.ends),
            forecast.forecast(left, rate_bps, effective_bps, now),
            policy.risk_before,
            now,
        ),
        rate_bps=rate_bps,
        effective_bps=effective_bps,
    )


def evaluate_transfer(inputs: TransferInputs, policy: HealthPolicy) -> tuple[bool, int | None]:
    """Whether an item has stalled, and the rate that is known of it now."""
    stalled = (
        inputs.status == Status.LOADING
        and not inputs.waiting
        and is_stalled(
            inputs.moved_at,
            inputs.activity,
            policy.stalled_after,
            policy.now,
            policy.uninterrupted_since,
            known=inputs.stalled,
        )
    )
    return stalled, _current_rate(inputs, stalled=stalled, policy=policy)


def _effective_rate(inputs: LoadInputs, now: datetime) -> int | None:
    """It sinks while nothing comes; small steps are not worth a write."""
    found = forecast.effective_rate(inputs.effective_since, inputs.effective_base, inputs.bytes_done, now)
    return found if forecast.differs_materially(inputs.effective_bps, found) else inputs.effective_bps


def _current_rate(inputs: LoadInputs | TransferInputs, *, stalled: bool, policy: HealthPolicy) -> int | None:
    """Nothing is known any more once no byte was seen for `RATE_VALID_FOR`, and nothing moves in what has stalled."""
    if stalled:
        return 0
    watched = policy.now - policy.uninterrupted_since >= RATE_VALID_FOR
    return None if watched and not rates.is_rate_current(inputs.moved_at, policy.now) else inputs.rate_bps


LOADER_ACTIVE_FOR: Final = timedelta(
    minutes=15
)  # three heartbeats: a loader that says nothing for longer was not alive

WAITING_STATES: Final = frozenset({"waiting", "paused"})  # states of a loader in which nothing moves, and it says why


def is_silent(
    seen_at: datetime | None, after: timedelta, now: datetime, uninterrupted_since: datetime, *, known: bool = False
) -> bool:
    """Whether nothing new was seen of a tail for `after`. `known`: that was so before; `seen_at` None: ever."""
    if known:
        return seen_at is None or now - seen_at >= after
    return now - _observed_since(seen_at, uninterrupted_since) >= after


@dataclass(frozen=True, slots=True)
class LoaderActivity:
    """Signs of life of a loader, whatever they were: since when without a gap of `LOADER_ACTIVE_FOR`, and the last one.

    None, None: it gives no other sign of life than its bytes (it never wrote a heartbeat), so that all time counts.
    """

    since: datetime | None = None
    last: datetime | None = None


def is_stalled(
    moved_at: datetime | None,
    activity: LoaderActivity,
    after: timedelta,
    now: datetime,
    uninterrupted_since: datetime,
    *,
    known: bool = False,
) -> bool:
    """Whether no byte came for `after`, though its loader was alive all that time. Only of what is loading.

    An aircraft that was switched off right after its last byte has not stalled, nor one that was switched on just now;
    one that had stalled is stalled still. `known`: it was stalled before.
    """
    end = now if activity.last is None else min(activity.last, now)
    if known:
        return moved_at is None or end - moved_at >= after
    return end - _observed_since(moved_at, _observed_since(activity.since, uninterrupted_since)) >= after


def is_waiting(
    loader_state: str, said_at: datetime | None, as_of: datetime | None, moved_at: datetime | None, now: datetime
) -> bool:
    """Whether no byte moves and its loader says that it waits or is paused. Only of what is loading.

    `said_at` and `as_of` are the LastModified of its heartbeat and of the newest byte: of one clock, the store's. A
    byte that came later than the heartbeat counts for `RATE_VALID_FOR`.
    """
    if loader_state not in WAITING_STATES or said_at is None:
        return False
    return as_of is None or as_of <= said_at or not is_rate_current(moved_at, now)


def _observed_since(timestamp: datetime | None, uninterrupted_since: datetime) -> datetime:
    return uninterrupted_since if timestamp is None else max(timestamp, uninterrupted_since)
