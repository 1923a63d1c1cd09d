"""Time-based flags of loads and items: stalled, silent, waiting, at risk, and rates that have expired. Pure.

Durations are differences of the portal's own clock only, never of two machines' clocks. `uninterrupted_since` is when
polling without a long gap began: time before it counts against no tail, and a flag set before it stays until something
new is seen. `fleet.ingest.health` reads and writes.
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
    """Thresholds of an airline, the portal's clock, and since when polling had no long gap."""

    stalled_after: timedelta
    silent_after: timedelta
    risk_before: timedelta
    now: datetime
    uninterrupted_since: datetime


class LoadHealth(NamedTuple):
    """The time-based fields of a load, named as in the model."""

    stalled: bool
    silent: bool
    waiting: bool
    at_risk: bool
    rate_bps: int | None
    effective_bps: int | None


class LoadInputs(NamedTuple):
    """The inputs of the decision on a load, named as in the model; those of `LoadHealth` with their current values."""

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
        """Return the current values."""
        return LoadHealth._make(self[: len(LoadHealth._fields)])

    @property
    def activity(self) -> LoaderActivity:
        return loader_activity(self.heartbeat_at, self.awake_since, self.seen_at)


class TransferInputs(NamedTuple):
    """The inputs of the decision on an item. `waiting` is that of its load."""

    stalled: bool
    rate_bps: int | None
    status: str
    moved_at: datetime | None
    waiting: bool
    activity: LoaderActivity


def loader_activity(
    heartbeat_at: datetime | None, awake_since: datetime | None, seen_at: datetime | None
) -> LoaderActivity:
    """Return the activity of a tail's loader; unknown without any heartbeat."""
    return LoaderActivity() if heartbeat_at is None else LoaderActivity(awake_since, seen_at)


def evaluate_load(inputs: LoadInputs, policy: HealthPolicy) -> LoadHealth:
    """Return the time-based fields of an open load as of now."""
    now, since = policy.now, policy.uninterrupted_since
    loading = inputs.status == Status.LOADING
    silent = is_silent(inputs.seen_at, policy.silent_after, now, since, known=inputs.tail_silent)
    waiting = is_waiting(inputs.loader_state, inputs.heartbeat_at, inputs.as_of, inputs.moved_at, now)
    stalled = not waiting and is_stalled(
        inputs.moved_at, inputs.activity, policy.stalled_after, now, since, known=inputs.stalled
    )
    effective_bps = _effective_rate(inputs, now)
    rate_bps = _current_rate(inputs, stalled=loading and stalled, policy=policy)
    remaining = None if inputs.bytes_total is None else inputs.bytes_total - inputs.bytes_done
    return LoadHealth(
        stalled=loading and stalled,
        silent=loading and silent,
        waiting=loading and waiting,
        at_risk=forecast.is_at_risk(
            inputs.status,
            forecast.ExhibitionDates(inputs.starts, inputs.ends),
            forecast.forecast(remaining, rate_bps, effective_bps, now),
            policy.risk_before,
            now,
        ),
        rate_bps=rate_bps,
        effective_bps=effective_bps,
    )


def evaluate_transfer(inputs: TransferInputs, policy: HealthPolicy) -> tuple[bool, int | None]:
    """Return whether an item has stalled, and its current rate."""
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
    """Return the effective rate, which falls while no bytes arrive. Small changes are not worth a write."""
    found = forecast.effective_rate(inputs.effective_since, inputs.effective_base, inputs.bytes_done, now)
    return found if forecast.differs_materially(inputs.effective_bps, found) else inputs.effective_bps


def _current_rate(inputs: LoadInputs | TransferInputs, *, stalled: bool, policy: HealthPolicy) -> int | None:
    """Return 0 for what has stalled, and None if no byte was seen for `RATE_VALID_FOR`."""
    if stalled:
        return 0
    watched = policy.now - policy.uninterrupted_since >= RATE_VALID_FOR
    return None if watched and not rates.is_rate_current(inputs.moved_at, policy.now) else inputs.rate_bps


# Three heartbeats: a loader that reports nothing for longer was not running.
LOADER_ACTIVE_FOR: Final = timedelta(minutes=15)

WAITING_STATES: Final = frozenset({"waiting", "paused"})  # loader states in which no byte is expected


def is_silent(
    seen_at: datetime | None, after: timedelta, now: datetime, uninterrupted_since: datetime, *, known: bool = False
) -> bool:
    """Return whether nothing new was seen of a tail for `after`.

    `known`: the tail was silent before. `seen_at` None: nothing was ever seen.
    """
    if known:
        return seen_at is None or now - seen_at >= after
    return now - _observed_since(seen_at, uninterrupted_since) >= after


@dataclass(frozen=True, slots=True)
class LoaderActivity:
    """When a loader was seen active: since when without a gap of `LOADER_ACTIVE_FOR`, and the last time.

    None, None: the loader never wrote a heartbeat, so its activity is unknown and all time counts.
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
    """Return whether no byte arrived for `after` while the loader was active all that time. For loading rows only.

    An aircraft that was switched off right after its last byte has not stalled, nor one that was switched on just now.
    `known`: it was stalled before, and stays so until a byte arrives.
    """
    end = now if activity.last is None else min(activity.last, now)
    if known:
        return moved_at is None or end - moved_at >= after
    return end - _observed_since(moved_at, _observed_since(activity.since, uninterrupted_since)) >= after


def is_waiting(
    loader_state: str, reported_at: datetime | None, as_of: datetime | None, moved_at: datetime | None, now: datetime
) -> bool:
    """Return whether no byte moves and the loader reports that it waits or is paused. For loading rows only.

    `reported_at` and `as_of` are the LastModified of the heartbeat and of the newest byte, both by the store's clock. A
    byte newer than the heartbeat counts for `RATE_VALID_FOR`.
    """
    if loader_state not in WAITING_STATES or reported_at is None:
        return False
    return as_of is None or as_of <= reported_at or not is_rate_current(moved_at, now)


def _observed_since(timestamp: datetime | None, uninterrupted_since: datetime) -> datetime:
    return uninterrupted_since if timestamp is None else max(timestamp, uninterrupted_since)
