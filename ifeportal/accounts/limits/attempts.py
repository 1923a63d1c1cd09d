"""Attempts are counted in the database before they are made, so that limits hold for all processes together.

One conditional update counts an attempt and says whether it is allowed: of any number of attempts at the same time, at
most as many as the limit are made. Without the database no attempt is made. Touches rows of `AttemptCount` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone

from ifeportal.accounts.models import AttemptCount


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` attempts of one subject in `seconds`, from the first one on. `scope` is its name in the table."""

    scope: str
    count: int
    seconds: float


def take(limit: Limit, subject: str) -> bool:
    """Count an attempt. Return False if the limit is reached: then the attempt must not be made."""
    now = timezone.now()
    if _count(limit, subject, now):
        return True
    # Not over, also for a process that took its time before this one did: it would start the period again.
    new = AttemptCount(scope=limit.scope, subject=subject, ends_at=now + timedelta(seconds=limit.seconds))
    AttemptCount.objects.bulk_create([new], ignore_conflicts=True)
    return _count(limit, subject, now)


def give_back(limit: Limit, subject: str) -> None:
    """Uncount an attempt that was not made, or that succeeded."""
    _rows(limit, subject).filter(count__gt=0).update(count=F("count") - 1)


def clear(limit: Limit, subject: str) -> None:
    """Forget the attempts of the subject."""
    _rows(limit, subject).delete()


def next_at(limit: Limit, subject: str) -> datetime:
    """Return when attempts of the subject are allowed again (UTC)."""
    return _rows(limit, subject).values_list("ends_at", flat=True).first() or timezone.now()


def delete_ended(now: datetime) -> None:
    """Delete the counts of past periods."""
    AttemptCount.objects.filter(ends_at__lte=now).delete()


def _count(limit: Limit, subject: str, now: datetime) -> bool:
    period = timedelta(seconds=limit.seconds)
    # A period that ends in the far future was written by a clock that was wrong.
    is_over = Q(ends_at__lte=now) | Q(ends_at__gt=now + 2 * period)
    allowed = _rows(limit, subject).filter(is_over | Q(count__lt=limit.count))
    return bool(
        allowed.update(
            count=Case(When(is_over, then=Value(1)), default=F("count") + 1),
            ends_at=Case(When(is_over, then=Value(now + period)), default=F("ends_at")),
        )
    )


def _rows(limit: Limit, subject: str) -> QuerySet[AttemptCount]:
    return AttemptCount.objects.filter(scope=limit.scope, subject=subject)
