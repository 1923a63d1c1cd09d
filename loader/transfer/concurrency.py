"""Decides how many connections to use: one per item, or more where a single one cannot fill the link.

On a link with high latency or loss, one TCP connection gets only a part of the capacity (Mathis et al. 1997, "The
macroscopic behavior of the TCP congestion avoidance algorithm"). `ConcurrencyController` tries more or fewer
connections and decides by measured rates alone. `ConnectionBudget` is shared by all downloads of a loader, from any
thread. Times are seconds of a monotonic clock, rates bytes per second. No input or output.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from loader.frozen import frozen
from loader.s3.retry import Backoff, no_jitter

MAX_CONNECTIONS: Final = 16
SATURATED_RATE: Final = 4_000_000  # a connection at this rate is not limited by latency or loss
MIN_GAIN: Final = 1.15  # a rate this many times the one before is a clear gain
NO_GAIN: Final = 1.05  # less than this, measured over a longer window, is no gain
MAX_LOSS: Final = 0.85  # if throughput falls this far as connections are added, the link has changed: restart the trial
SETTLE_TIME: Final = 0.25  # seconds that new connections need before they are measured
WINDOW: Final = 0.5  # seconds of one measurement
MAX_WINDOWS: Final = 4  # the window may grow this many times before a trial ends without a gain: rates vary
ITEM_GAP: Final = 0.5  # seconds between two items that do not count as a change of their number
RAMP_UP_TIMEOUT: Final = 3.0  # seconds to wait for connections that are allowed but not used
TRIAL_PAUSE: Final = 5.0  # seconds between two trials without a gain; doubled each time
MAX_TRIAL_PAUSE: Final = 120.0
IDLE_RESET: Final = 60.0  # after this many seconds without a transfer, the link may be another one
PARALLEL_FROM: Final = 3.0  # an item that will be complete in so many seconds stays on one connection


@frozen
class ThroughputSample:
    """Measured at the time `at`: bytes received in total, connections that receive bytes, items in transfer.

    `limit`: the bandwidth limit of all transfers. `min_latency`: the shortest time from a request to its response.
    """

    at: float
    total: int
    connections: int
    items: int
    limit: int | None = None
    min_latency: float = 0.0


@frozen
class _Trial:
    """A trial of another number of connections than `before`, with which the rate was `rate`."""

    before: int
    rate: float
    windows: int = 1


class ConcurrencyController:
    """Decides from samples. `target`: the connections that all items together may use. Reads no clock."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self.target = 1
        self.rate = 0.0
        self._max_connections = max_connections
        self._items = 0
        self._trial: _Trial | None = None
        self._fewer_at = math.inf
        self._changed_at = -math.inf  # when the target last changed
        self._window_start: ThroughputSample | None = None  # with a negative total: wait until its time
        self._next_trial_at = -math.inf
        self._trial_pauses = Backoff(None, TRIAL_PAUSE, MAX_TRIAL_PAUSE, jitter=no_jitter)
        self._rejected_rate = 0.0  # with more connections, in the last trial without a gain

    def observe(self, sample: ThroughputSample) -> None:
        """Take a sample. Samples must be in order of time."""
        if self._items_changed(sample):
            self._items, self._trial = sample.items, None
            self._set_target(self.target, sample.at)
        if self._items and self._measure(sample):
            self._evaluate(sample)

    def _items_changed(self, sample: ThroughputSample) -> bool:
        """Return whether there are more items or, for longer than ITEM_GAP, fewer."""
        if sample.items == self._items:
            self._fewer_at = math.inf
        elif sample.items < self._items:
            self._fewer_at = min(self._fewer_at, sample.at)
        return sample.items > self._items or sample.at - self._fewer_at >= ITEM_GAP

    def back_off(self, now: float) -> None:
        """Halve the target and start no trial for a while: the store asked for fewer requests."""
        self._trial, self._rejected_rate = None, 0.0
        self._next_trial_at = now + 2 * TRIAL_PAUSE
        self._set_target(max(1, self.target // 2), now)

    def _set_target(self, target: int, now: float) -> None:
        self.target, self._changed_at, self._window_start = target, now, None

    def _pause_trials(self, now: float) -> None:
        self._next_trial_at = now + self._trial_pauses.next_delay()
        self._rejected_rate = self.rate

    def _measure(self, sample: ThroughputSample) -> bool:
        """Return whether a window is over; if so, set `rate`."""
        start = self._window_start
        if start is None:
            if sample.connections == self._expected_connections() or sample.at - self._changed_at >= RAMP_UP_TIMEOUT:
                # Bytes in flight now were requested over fewer connections.
                settle = max(SETTLE_TIME, 2 * sample.min_latency)
                self._window_start = ThroughputSample(sample.at + settle, -1, sample.connections, self._items)
        elif start.total < 0:
            if sample.at >= start.at:
                self._window_start = sample
        elif sample.at - start.at >= max(WINDOW, 4 * sample.min_latency) * (self._trial.windows if self._trial else 1):
            self.rate = (sample.total - start.total) / (sample.at - start.at)
            return True
        return False

    def _expected_connections(self) -> int:
        """Return the number of connections once each item uses its share."""
        return max(self._items, self.target // self._items * self._items)

    def _evaluate(self, sample: ThroughputSample) -> None:
        trial = self._trial
        if trial is None:
            self._window_start = sample
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
        self._trial, self._window_start = None, self._window_start and sample
        self._start_trial(sample)

    def _start_trial(self, sample: ThroughputSample) -> None:
        """Start a trial of more or fewer connections if there is reason to."""
        current = max(self.target, self._items)
        at_limit = sample.limit is not None and self.rate >= 0.8 * sample.limit
        if self._next_trial_at > sample.at and self.rate * MIN_GAIN < self._rejected_rate:
            # The rejected trial did bring a gain: the rate before it was too high, as connections start fast.
            self._next_trial_at = sample.at
        if sample.at < self._next_trial_at or not self.rate:
            return
        if self.rate < SATURATED_RATE * current and current < self._max_connections and not at_limit:
            self._trial = _Trial(current, self.rate)
            # Very slow connections: fewer, larger steps, because each trial takes several round trips.
            factor = 4 if self.rate < SATURATED_RATE / 8 * current else 2
            self._set_target(min(factor * current, self._max_connections), sample.at)
        elif current > self._items and (self.rate > 2 * SATURATED_RATE * current or at_limit):
            self._trial = _Trial(current, self.rate)
            self._set_target(max(current // 2, self._items), sample.at)


class ConnectionBudget:
    """How many connections each download may use now. Methods may be called from any thread."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_connections, self._clock = max_connections, clock
        self._lock = threading.Lock()
        self._controller = ConcurrencyController(max_connections)
        self._items = self._connections = self._total = 0
        self._extra = 0  # connections beyond the first one of each item
        self._limit: int | None = None
        self._min_latency = math.inf
        self._observed_at = self._idle_since = clock()

    @contextmanager
    def track_item(self) -> Iterator[None]:
        """Count an item as in transfer."""
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
        """Count a connection as receiving bytes. `latency`: seconds from its request to the response."""
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
        """The number of items in transfer."""
        return self._items

    def record_bytes(self, count: int, limit: int | None = None) -> None:
        """Record `count` received bytes. `limit`: the bandwidth limit of all transfers, in bytes a second."""
        with self._lock:
            self._total += count
            self._limit = limit
            self._observe()

    def back_off(self) -> None:
        """Use half as many connections for a while: the store asked for fewer requests or accepted none."""
        with self._lock:
            self._controller.back_off(self._clock())

    def connections_per_item(self) -> int:
        """Return how many connections one item may use now, at least one."""
        with self._lock:
            self._observe()
            return max(1, self._controller.target // max(self._items, 1))

    def acquire(self) -> bool:
        """Acquire one more connection for an item, to be released again. Return False if none is free."""
        with self._lock:
            free = self._controller.target - self._items - self._extra
            self._extra += free > 0
            return free > 0

    def release(self, count: int = 1) -> None:
        """Release acquired connections."""
        with self._lock:
            self._extra -= count

    @property
    def min_latency(self) -> float:
        """The shortest time from a request to its response, in seconds; 0 if unknown."""
        return 0.0 if math.isinf(self._min_latency) else self._min_latency

    def rate_per_connection(self) -> float:
        """Return the recent rate of one connection, in bytes a second; 0 if unknown."""
        with self._lock:
            return self._controller.rate / max(self._connections, 1)

    def should_parallelise(self, missing: int) -> bool:
        """Return whether an item with `missing` bytes should use more than one connection now."""
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
