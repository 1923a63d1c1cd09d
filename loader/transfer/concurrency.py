"""Number of connections to use: one an item where that is best, more where a single one cannot fill the link.

On a long or lossy link TCP gives one connection only a part of the capacity. `ConcurrencyController` decides, from
measured rates only, whether more connections brought more; `ConnectionBudget` is shared by all downloads of a loader,
from any thread. Times are seconds of a monotonic clock, rates bytes per second. Touches nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from loader.s3.retry import Backoff, no_jitter

MAX_CONNECTIONS: Final = 16
SATURATED_RATE: Final = 4_000_000  # a connection that brings as much is not held back by its link
MIN_GAIN: Final = 1.15  # so many times the rate is clearly more
NO_GAIN: Final = 1.05  # less than this, looked at longer, is nothing
MAX_LOSS: Final = 0.85  # more connections do not bring less: the link is not what it was when there were fewer
SETTLE_TIME: Final = 0.25  # what connections need to get going before they are measured
WINDOW: Final = 0.5
MAX_WINDOWS: Final = (
    4  # times the window grows before it is said that more brought nothing: a short one may be a bad one
)
ITEM_GAP: Final = 0.5  # the end of an item is not the end of the work
RAMP_UP_TIMEOUT: Final = 3.0  # how long to wait for connections that were allowed and are not used
TRIAL_PAUSE: Final = 5.0  # between two tries that brought nothing; doubled each time
MAX_TRIAL_PAUSE: Final = 120.0
IDLE_RESET: Final = 60.0  # after so long without a transfer it may be another link
PARALLEL_FROM: Final = 3.0  # an item that will be there so soon is left to the connection it has


@dataclass(frozen=True, slots=True)
class ThroughputSample:
    """What was seen until a moment: bytes in all; and at it: connections that bring bytes, items on their way.

    `limit`: what the operator lets all of them have; `min_latency`: the shortest time to a response.
    """

    at: float
    total: int
    connections: int
    items: int
    limit: int | None = None
    min_latency: float = 0.0


@dataclass(frozen=True, slots=True)
class _Trial:
    """Another number of connections than `before`, when there were `rate` bytes a second."""

    before: int
    rate: float
    windows: int = 1


class ConcurrencyController:
    """The decision alone: tell it samples, read `target`. It never looks at a clock."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self.target = 1
        self.rate = 0.0
        self._max_connections = max_connections
        self._items = 0
        self._trial: _Trial | None = None
        self._fewer_at = math.inf
        self._began = -math.inf  # when the target last changed
        self._mark: ThroughputSample | None = None
        self._again = -math.inf
        self._trial_pauses = Backoff(None, TRIAL_PAUSE, MAX_TRIAL_PAUSE, jitter=no_jitter)
        self._rejected_rate = 0.0  # what more connections brought when it was found to be nothing

    def observe(self, sample: ThroughputSample) -> None:
        """Take a sample; they must come in order of time."""
        if self._items_changed(sample):
            self._items, self._trial = sample.items, None
            self._set_target(self.target, sample.at)
        if self._items and self._measure(sample):
            self._evaluate(sample)

    def _items_changed(self, sample: ThroughputSample) -> bool:
        """Whether there are more or, for longer than it takes to go from one to the next, fewer items."""
        if sample.items == self._items:
            self._fewer_at = math.inf
        elif sample.items < self._items:
            self._fewer_at = min(self._fewer_at, sample.at)
        return sample.items > self._items or sample.at - self._fewer_at >= ITEM_GAP

    def back_off(self, now: float) -> None:
        """The store wants fewer requests."""
        self._trial, self._rejected_rate = None, 0.0
        self._again = now + 2 * TRIAL_PAUSE
        self._set_target(max(1, self.target // 2), now)

    def _set_target(self, target: int, now: float) -> None:
        self.target, self._began, self._mark = target, now, None

    def _pause_trials(self, now: float) -> None:
        self._again = now + self._trial_pauses.next_delay()
        self._rejected_rate = self.rate

    def _measure(self, sample: ThroughputSample) -> bool:
        """Whether a window is over; `rate` is then what it brought."""
        mark = self._mark
        if mark is None:
            if sample.connections == self._expected_connections() or sample.at - self._began >= RAMP_UP_TIMEOUT:
                # What is in flight now belongs to a smaller number of connections.
                settle = max(SETTLE_TIME, 2 * sample.min_latency)
                self._mark = ThroughputSample(sample.at + settle, -1, sample.connections, self._items)
        elif mark.total < 0:
            if sample.at >= mark.at:
                self._mark = sample
        elif sample.at - mark.at >= max(WINDOW, 4 * sample.min_latency) * (self._trial.windows if self._trial else 1):
            self.rate = (sample.total - mark.total) / (sample.at - mark.at)
            return True
        return False

    def _expected_connections(self) -> int:
        """So many connections there will be when all items use what they may."""
        return max(self._items, self.target // self._items * self._items)

    def _evaluate(self, sample: ThroughputSample) -> None:
        trial = self._trial
        if trial is None:
            self._mark = sample
            self._start_trial(sample)
        elif self.target < trial.before:
            self._evaluate_fewer(trial, sample)
        elif self.rate >= MIN_GAIN * trial.rate:
            self._trial_pauses.reset()
            self._end_trial(sample)
        elif self.rate < MAX_LOSS * trial.rate:
            self._end_trial(sample)
        elif trial.windows < MAX_WINDOWS:
            self._trial = _Trial(trial.before, trial.rate, trial.windows + 1)
        else:
            if self.rate < NO_GAIN * trial.rate:
                self._pause_trials(sample.at)
                self._set_target(trial.before, sample.at)
            self._end_trial(sample)

    def _evaluate_fewer(self, trial: _Trial, sample: ThroughputSample) -> None:
        if self.rate < trial.rate / NO_GAIN:
            self._pause_trials(sample.at)
            self._rejected_rate = 0.0
            self._set_target(trial.before, sample.at)
        self._end_trial(sample)

    def _end_trial(self, sample: ThroughputSample) -> None:
        self._trial, self._mark = None, self._mark and sample
        self._start_trial(sample)

    def _start_trial(self, sample: ThroughputSample) -> None:
        """Begin a trial if there is reason to."""
        now = max(self.target, self._items)
        own = sample.limit is not None and self.rate >= 0.8 * sample.limit
        if self._again > sample.at and self.rate * MIN_GAIN < self._rejected_rate:
            # It was something after all: new connections are quick for a moment, and hid it.
            self._again = sample.at
        if sample.at < self._again or not self.rate:
            return
        if self.rate < SATURATED_RATE * now and now < self._max_connections and not own:
            self._trial = _Trial(now, self.rate)
            # Where one brings so little, the way up would be long: a look takes as long as some round trips.
            more = 4 if self.rate < SATURATED_RATE / 8 * now else 2
            self._set_target(min(more * now, self._max_connections), sample.at)
        elif now > self._items and (self.rate > 2 * SATURATED_RATE * now or own):
            self._trial = _Trial(now, self.rate)
            self._set_target(max(now // 2, self._items), sample.at)


class ConnectionBudget:
    """What all downloads share: how many connections each may use now. For any thread."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_connections, self._clock = max_connections, clock
        self._lock = threading.Lock()
        self._controller = ConcurrencyController(max_connections)
        self._items = self._connections = self._total = 0
        self._extra = 0  # connections beyond the first one of an item
        self._limit: int | None = None
        self._min_latency = math.inf
        self._observed_at = self._idle_since = clock()

    @contextmanager
    def track_item(self) -> Iterator[None]:
        """While an item is on its way."""
        with self._lock:
            if not self._items and self._clock() - self._idle_since > IDLE_RESET:
                self._controller, self._min_latency = ConcurrencyController(self._max_connections), math.inf
            self._items += 1
        try:
            yield
        finally:
            with self._lock:
                self._items -= 1
                self._idle_since = self._clock()

    @contextmanager
    def track_connection(self, latency: float) -> Iterator[None]:
        """While a connection brings bytes; `latency`: seconds from its request to the response."""
        with self._lock:
            self._connections += 1
            self._min_latency = min(self._min_latency, latency)
        try:
            yield
        finally:
            with self._lock:
                self._connections -= 1

    @property
    def items(self) -> int:
        """How many items are on their way."""
        return self._items

    def record_bytes(self, count: int, limit: int | None = None) -> None:
        """So many bytes came. `limit`: what the operator lets all transfers have a second."""
        with self._lock:
            self._total += count
            self._limit = limit
            self._observe()

    def back_off(self) -> None:
        """The store asked for fewer requests or took no connection: half as many, for a while."""
        with self._lock:
            self._controller.back_off(self._clock())

    def connections_per_item(self) -> int:
        """How many connections one item may use now, at least one."""
        with self._lock:
            self._observe()
            return max(1, self._controller.target // max(self._items, 1))

    def acquire(self) -> bool:
        """One connection more for an item that has some, if all items together may have it; to be given back."""
        with self._lock:
            free = self._controller.target - self._items - self._extra
            self._extra += free > 0
            return free > 0

    def release(self, count: int = 1) -> None:
        """So many of those that were claimed are not used any more."""
        with self._lock:
            self._extra -= count

    @property
    def min_latency(self) -> float:
        """The shortest time a request waited for its answer; 0 if none was seen."""
        return 0.0 if math.isinf(self._min_latency) else self._min_latency

    def rate_per_connection(self) -> float:
        """What one connection brought lately, in bytes a second; 0 if that is not known yet."""
        with self._lock:
            return self._controller.rate / max(self._connections, 1)

    def should_parallelise(self, missing: int) -> bool:
        """Whether an item that lacks so many bytes should use more than one connection now."""
        with self._lock:
            share = self._controller.target // max(self._items, 1)
            return share > 1 and missing > PARALLEL_FROM * self._controller.rate / max(self._items, 1)

    def _observe(self) -> None:
        now = self._clock()
        if now - self._observed_at >= SETTLE_TIME / 5:
            self._observed_at = now
            self._controller.observe(
                ThroughputSample(now, self._total, self._connections, self._items, self._limit, self.min_latency)
            )
