"""Retries of one-off work that a row requests: its attempts, its last error, and the time of the next attempt.

A model that inherits `RetriedWork` gets the columns; its `retry_policy` decides from values alone whether and when
failed work is retried. Everything is written by conditional updates: an attempt whose request was withdrawn or repeated
in the meantime changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self, TypeVar

from django.db import models
from django.db.models import F, Q

from ifeportal.access import ScopedQuerySet
from loader.errors import Code, WorldError
from loader.s3 import retry
from loader.s3.auth.redaction import redact

M = TypeVar("M", bound=models.Model)
NO_ATTEMPTS: Final = {"attempts": 0, "next_try_at": None, "error_code": "", "error": "", "advice": ""}


@dataclass(frozen=True, slots=True)
class WorkFailure:
    """Why an attempt failed: its code, a sentence, and what to do about it ("" if nothing is known).

    `permanent`: another attempt cannot succeed. `retry_after`: seconds the server asked to wait.
    """

    code: Code
    error: str
    advice: str = ""
    permanent: bool = False
    retry_after: float | None = None

    @classmethod
    def of(cls, error: WorldError, advice: str = "") -> WorkFailure:
        return cls(error.code, str(error), advice, error.permanent, error.retry_after)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often failed work is tried, with exponentially growing pauses in seconds. Pure."""

    max_attempts: int = 8
    first_pause: float = 2.0
    longest_pause: float = 60.0
    factor: float = 2.0

    def next_pause(self, attempts: int, failure: WorkFailure) -> float | None:
        """Return the seconds to wait after this many attempts; None if there is no other attempt.

        Never shorter than `retry_after`, even beyond `longest_pause`.
        """
        if failure.permanent or attempts >= self.max_attempts:
            return None
        pause = retry.delay(attempts, self.first_pause, self.longest_pause, self.factor)
        return max(pause, failure.retry_after or 0.0)


class RetriedQuerySet(ScopedQuerySet[M]):
    """Rows of a model that inherits `RetriedWork`."""

    def due(self, now: datetime) -> Self:
        return self.filter(Q(next_try_at=None) | Q(next_try_at__lte=now))


class RetriedWork(models.Model):
    """Work that is retried when it fails. `attempts` counts those of the row's current request."""

    attempts = models.PositiveSmallIntegerField(default=0, help_text="Attempts at the current request.")
    next_try_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    advice = models.TextField(blank=True, help_text="What to do about the error.")

    retry_policy: ClassVar[RetryPolicy] = RetryPolicy()

    class Meta:
        abstract = True

    def current_request(self) -> RetriedQuerySet[Any]:
        """Return this row if its request is still the one that was read, otherwise no row. Each model defines it."""
        raise NotImplementedError

    def begin_attempt(self, now: datetime, **columns: Any) -> bool:
        """Count an attempt before it is made, so that one counts whose worker dies. False if the request is gone.

        While the attempt runs, the row is not due for the longest pause.
        """
        later = now + timedelta(seconds=self.retry_policy.longest_pause)
        if not self.current_request().update(attempts=F("attempts") + 1, next_try_at=later, **columns):
            return False
        self.attempts += 1
        return True

    def postpone(self, failure: WorkFailure, now: datetime, **columns: Any) -> bool:
        """Record the failure and the time of the next attempt. False, with nothing recorded, if none is left."""
        pause = self.retry_policy.next_pause(self.attempts, failure)
        if pause is None:
            return False
        self._record(failure, next_try_at=now + timedelta(seconds=pause), **columns)
        return True

    def give_up(self, failure: WorkFailure, **columns: Any) -> bool:
        """Record the failure; no attempt follows. False if the request is no longer current."""
        return self._record(failure, next_try_at=None, **columns)

    def clear_attempts(self) -> None:
        """Reset attempts and errors in memory, for a row that is saved with all its columns."""
        for name, value in NO_ATTEMPTS.items():
            setattr(self, name, value)

    def _record(self, failure: WorkFailure, **columns: Any) -> bool:
        columns |= {"error_code": failure.code.value, "error": redact(failure.error), "advice": failure.advice}
        return bool(self.current_request().update(attempts=self.attempts, **columns))
