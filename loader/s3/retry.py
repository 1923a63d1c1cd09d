"""Retry policies: full-jitter backoff, and a budget of tries that progress refills. Pure; seconds and bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

_REFILL_BYTES: Final = 1024 * 1024


@dataclass
class Backoff:
    """Full jitter: each wait is random between 0 and a limit that doubles. Counts tries that brought nothing."""

    tries: int
    first: float
    longest: float
    failures: int = 0
    rng: random.Random = field(default_factory=random.Random)

    def next_delay(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait before another try, or None when there were enough. At least what the server asked."""
        self.failures += 1
        if self.failures >= self.tries:
            return None
        limit = min(self.longest, self.first * 2.0 ** min(self.failures - 1, 30))
        return max(self.rng.uniform(0.0, limit), min(retry_after or 0.0, self.longest))

    def reset(self) -> None:
        """Something was gained."""
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
        return self._backoff.next_delay(retry_after)
