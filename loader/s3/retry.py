"""When to try again: exponential delays with jitter, and a budget of tries that progress refills. Seconds and bytes.

`delay` is the one formula. `Backoff` counts the failures of a loop; work that rows ask for counts its attempts in
columns (`ifeportal.jobs.retries`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_REFILL_BYTES: Final = 1024 * 1024
_MAX_DOUBLINGS: Final = 30  # a larger power might be too large for a float


def delay(failures: int, first: float, longest: float, factor: float = 2.0) -> float:
    """Return the seconds to wait after so many failures in a row: `first` after one, then `factor` times as long each.

    Never more than `longest`.
    """
    return min(longest, first * factor ** min(max(failures - 1, 0), _MAX_DOUBLINGS))


def full_jitter(limit: float) -> float:
    """Return a random delay up to `limit`, so that clients that failed together do not return together."""
    return random.uniform(0.0, limit)  # noqa: S311  no secret depends on it


def no_jitter(limit: float) -> float:
    """Return `limit`: for a loop that has no peers."""
    return limit


@dataclass
class Backoff:
    """The failures in a row of one loop and the delay after each. `tries` None: the loop never gives up."""

    tries: int | None
    first: float
    longest: float
    failures: int = 0
    jitter: Callable[[float], float] = full_jitter

    def next_delay(self, retry_after: float | None = None) -> float:
        """Count a failure. Return the seconds to wait: at least `retry_after`, as far as `longest` allows."""
        self.failures += 1
        limit = delay(self.failures, self.first, self.longest)
        return max(self.jitter(limit), min(retry_after or 0.0, self.longest))

    @property
    def is_exhausted(self) -> bool:
        """Whether as many tries failed as there are."""
        return self.tries is not None and self.failures >= self.tries

    def reset(self) -> None:
        """Forget the failures: something succeeded."""
        self.failures = 0


class RetryBudget:
    """The tries of one item, over however many connections.

    A MiB that was gained fills it anew: a trickle of bytes between two failures is no progress, and only that bounds
    the number of requests.
    """

    def __init__(self, backoff: Backoff, bytes_done: int) -> None:
        self._backoff, self._mark = backoff, bytes_done

    @property
    def failures(self) -> int:
        """Tries in a row that brought nothing."""
        return self._backoff.failures

    def next_delay(self, bytes_done: int, retry_after: float | None = None) -> float | None:
        """A try ended with so many bytes held: seconds to wait before another, None if there were enough."""
        if bytes_done >= self._mark + _REFILL_BYTES:
            self._backoff.reset()
            self._mark = bytes_done
        wait = self._backoff.next_delay(retry_after)
        return None if self._backoff.is_exhausted else wait
