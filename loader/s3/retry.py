"""Retry delays: exponential with jitter, and a budget of attempts that progress refills. Seconds and bytes.

`delay` is the only formula. `Backoff` counts the failures of a loop; work stored in database rows counts its attempts
in columns (`ifeportal.jobs.retries`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_REFILL_BYTES: Final = 1024 * 1024
_MAX_DOUBLINGS: Final = 30  # a larger power could overflow a float
# Not the shared generator of `random`: retrying threads would change what other code draws after seeding it.
_JITTER: Final = random.Random()  # noqa: S311  no secret depends on it


def delay(failures: int, first: float, longest: float, factor: float = 2.0) -> float:
    """Return the seconds to wait after that many failures in a row: `first`, then `factor` times as long each time.

    Never more than `longest`.
    """
    return min(longest, first * factor ** min(max(failures - 1, 0), _MAX_DOUBLINGS))


def full_jitter(limit: float) -> float:
    """Return a random delay up to `limit`, so that clients that failed together do not retry together."""
    return _JITTER.uniform(0.0, limit)


def no_jitter(limit: float) -> float:
    """Return `limit`: for a loop without peers."""
    return limit


@dataclass
class Backoff:
    """Consecutive failures of one loop and the delay after each. `tries` None: the loop never gives up."""

    tries: int | None
    first: float
    longest: float
    failures: int = 0
    jitter: Callable[[float], float] = full_jitter

    def next_delay(self, retry_after: float | None = None) -> float:
        """Count a failure and return the seconds to wait: at least `retry_after`, but never more than `longest`."""
        self.failures += 1
        limit = delay(self.failures, self.first, self.longest)
        return max(self.jitter(limit), min(retry_after or 0.0, self.longest))

    @property
    def is_exhausted(self) -> bool:
        """Whether all attempts failed."""
        return self.tries is not None and self.failures >= self.tries

    def reset(self) -> None:
        """Reset the count after a success."""
        self.failures = 0


class RetryBudget:
    """Attempts of one item, over any number of connections.

    Each MiB gained refills the budget. Fewer bytes between two failures do not: this bounds the number of requests.
    """

    def __init__(self, backoff: Backoff, bytes_done: int) -> None:
        self._backoff, self._refilled_at = backoff, bytes_done

    @property
    def failures(self) -> int:
        """Consecutive failures without progress."""
        return self._backoff.failures

    def next_delay(self, bytes_done: int, retry_after: float | None = None) -> float | None:
        """Count a failure with `bytes_done` on disk. Return the seconds to wait, None if the budget is spent."""
        if bytes_done >= self._refilled_at + _REFILL_BYTES:
            self._backoff.reset()
            self._refilled_at = bytes_done
        wait = self._backoff.next_delay(retry_after)
        return None if self._backoff.is_exhausted else wait
