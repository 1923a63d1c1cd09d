"""How many connections at once: one an item where that is best, more where a single one is held back by its link.

Over a long or lossy link TCP lets one connection have only a part of what the link could carry. `Ramp` decides, from
measured rates and nothing else, whether more connections brought more; `Streams` is what all downloads of a loader
share, from any thread. Times are seconds of a monotonic clock, rates bytes a second. Touches nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

MOST: Final = 16
SLOW: Final = 4_000_000  # a connection that brings as much is not held back by its link
GAIN: Final = 1.15  # so many times the rate is clearly more
WORTH: Final = 1.05  # less than this, looked at longer, is nothing
LESS: Final = 0.85  # more connections do not bring less: the link is not what it was when there were fewer
SETTLE: Final = 0.25  # what connections need to get going before they are measured
WINDOW: Final = 0.5
LOOKS: Final = 4  # times the window grows before it is said that more brought nothing: a short one may be a bad one
BETWEEN: Final = 0.5  # the end of an item is not the end of the work
STRAGGLE: Final = 3.0  # how long to wait for connections that were allowed and are not used
PAUSE: Final = 5.0  # between two tries that brought nothing; doubled each time
LONGEST_PAUSE: Final = 120.0
FORGET: Final = 60.0  # after so long without a transfer it may be another link
WORTHWHILE: Final = 3.0  # an item that will be there so soon is left to the connection it has


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen until a moment: bytes in all; and at it: connections that bring bytes, items on their way.

    `limit`: what the operator lets all of them have; `answer`: the shortest time a request waited for its answer.
    """

    at: float
    total: int
    streams: int
    items: int
    limit: int | None = None
    answer: float = 0.0


@dataclass(frozen=True, slots=True)
class _Trial:
    """Another number of connections than `before`, when there were `rate` bytes a second."""

    before: int
    rate: float
    looks: int = 1


class Ramp:
    """The decision alone: tell it samples, read `target`. It never looks at a clock."""

    def __init__(self, most: int = MOST) -> None:
        self.target = 1
        self.rate = 0.0
        self._most = most
        self._items = 0
        self._trial: _Trial | None = None
        self._fewer_at = math.inf
        self._began = -math.inf  # when the target last changed
        self._mark: Sample | None = None
        self._again = -math.inf
        self._pause = PAUSE
        self._held_back = 0.0  # what more connections brought when it was found to be nothing

    def look(self, sample: Sample) -> None:
        """Take a sample; they must come in order of time."""
        if self._other_items(sample):
            self._items, self._trial = sample.items, None
            self._to(self.target, sample.at)
        if self._items and self._measured(sample):
            self._judge(sample)

    def _other_items(self, sample: Sample) -> bool:
        """Whether there are more or, for longer than it takes to go from one to the next, fewer items."""
        if sample.items == self._items:
            self._fewer_at = math.inf
        elif sample.items < self._items:
            self._fewer_at = min(self._fewer_at, sample.at)
        return sample.items > self._items or sample.at - self._fewer_at >= BETWEEN

    def refused(self, now: float) -> None:
        """The store wants fewer requests."""
        self._trial, self._held_back = None, 0.0
        self._again = now + 2 * PAUSE
        self._to(max(1, self.target // 2), now)

    def _to(self, target: int, now: float) -> None:
        self.target, self._began, self._mark = target, now, None

    def _hold(self, now: float) -> None:
        self._again, self._pause = now + self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._held_back = self.rate

    def _measured(self, sample: Sample) -> bool:
        """Whether a window is over; `rate` is then what it brought."""
        mark = self._mark
        if mark is None:
            if sample.streams == self._wanted() or sample.at - self._began >= STRAGGLE:
                # What is in flight now belongs to a smaller number of connections.
                settle = max(SETTLE, 2 * sample.answer)
                self._mark = Sample(sample.at + settle, -1, sample.streams, self._items)
        elif mark.total < 0:
            if sample.at >= mark.at:
                self._mark = sample
        elif sample.at - mark.at >= max(WINDOW, 4 * sample.answer) * (self._trial.looks if self._trial else 1):
            self.rate = (sample.total - mark.total) / (sample.at - mark.at)
            return True
        return False

    def _wanted(self) -> int:
        """So many connections there will be when all items use what they may."""
        return max(self._items, self.target // self._items * self._items)

    def _judge(self, sample: Sample) -> None:
        trial = self._trial
        if trial is None:
            self._mark = sample
            self._try(sample)
        elif self.target < trial.before:
            self._judge_fewer(trial, sample)
        elif self.rate >= GAIN * trial.rate:
            self._pause = PAUSE
            self._settled(sample)
        elif self.rate < LESS * trial.rate:
            self._settled(sample)
        elif trial.looks < LOOKS:
            self._trial = _Trial(trial.before, trial.rate, trial.looks + 1)
        else:
            if self.rate < WORTH * trial.rate:
                self._hold(sample.at)
                self._to(trial.before, sample.at)
            self._settled(sample)

    def _judge_fewer(self, trial: _Trial, sample: Sample) -> None:
        if self.rate < trial.rate / WORTH:
            self._hold(sample.at)
            self._held_back = 0.0
            self._to(trial.before, sample.at)
        self._settled(sample)

    def _settled(self, sample: Sample) -> None:
        self._trial, self._mark = None, self._mark and sample
        self._try(sample)

    def _try(self, sample: Sample) -> None:
        """Begin a trial if there is reason to."""
        now = max(self.target, self._items)
        own = sample.limit is not None and self.rate >= 0.8 * sample.limit
        if self._again > sample.at and self.rate * GAIN < self._held_back:
            # It was something after all: new connections are quick for a moment, and hid it.
            self._again = sample.at
        if sample.at < self._again or not self.rate:
            return
        if self.rate < SLOW * now and now < self._most and not own:
            self._trial = _Trial(now, self.rate)
            # Where one brings so little, the way up would be long: a look takes as long as some round trips.
            more = 4 if self.rate < SLOW / 8 * now else 2
            self._to(min(more * now, self._most), sample.at)
        elif now > self._items and (self.rate > 2 * SLOW * now or own):
            self._trial = _Trial(now, self.rate)
            self._to(max(now // 2, self._items), sample.at)


class Streams:
    """What all downloads share: how many connections each may use now. For any thread."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._ramp = Ramp(most)
        self._items = self._streams = self._total = 0
        self._claimed = 0  # connections beyond the first one of an item
        self._limit: int | None = None
        self._answer = math.inf
        self._looked = self._idle_since = clock()

    @contextmanager
    def item(self) -> Iterator[None]:
        """While an item is on its way."""
        with self._lock:
            if not self._items and self._clock() - self._idle_since > FORGET:
                self._ramp, self._answer = Ramp(self._most), math.inf
            self._items += 1
        try:
            yield
        finally:
            with self._lock:
                self._items -= 1
                self._idle_since = self._clock()

    @contextmanager
    def stream(self, answer: float) -> Iterator[None]:
        """While a connection brings bytes; `answer`: seconds from its request to its answer."""
        with self._lock:
            self._streams += 1
            self._answer = min(self._answer, answer)
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    @property
    def items(self) -> int:
        """How many items are on their way."""
        return self._items

    def gained(self, count: int, limit: int | None = None) -> None:
        """So many bytes came. `limit`: what the operator lets all transfers have a second."""
        with self._lock:
            self._total += count
            self._limit = limit
            self._look()

    def refused(self) -> None:
        """The store asked for fewer requests or took no connection: half as many, for a while."""
        with self._lock:
            self._ramp.refused(self._clock())

    def share(self) -> int:
        """How many connections one item may use now, at least one."""
        with self._lock:
            self._look()
            return max(1, self._ramp.target // max(self._items, 1))

    def claim(self) -> bool:
        """One connection more for an item that has some, if all items together may have it; to be given back."""
        with self._lock:
            free = self._ramp.target - self._items - self._claimed
            self._claimed += free > 0
            return free > 0

    def give_back(self, count: int = 1) -> None:
        """So many of those that were claimed are not used any more."""
        with self._lock:
            self._claimed -= count

    @property
    def answer(self) -> float:
        """The shortest time a request waited for its answer; 0 if none was seen."""
        return 0.0 if math.isinf(self._answer) else self._answer

    def pace(self) -> float:
        """What one connection brought lately, in bytes a second; 0 if that is not known yet."""
        with self._lock:
            return self._ramp.rate / max(self._streams, 1)

    def worthwhile(self, missing: int) -> bool:
        """Whether an item that lacks so many bytes should use more than one connection now."""
        with self._lock:
            share = self._ramp.target // max(self._items, 1)
            return share > 1 and missing > WORTHWHILE * self._ramp.rate / max(self._items, 1)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= SETTLE / 5:
            self._looked = now
            self._ramp.look(Sample(now, self._total, self._streams, self._items, self._limit, self.answer))
