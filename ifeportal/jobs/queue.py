"""The queue of jobs: which rows of `Job` exist, which is due next, which function performs one.

Touches rows of `Job` only.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Case, DateTimeField, ExpressionWrapper, F, Q, Value, When
from django.db.models.functions import Least
from django.utils import timezone

from ifeportal.models import CLOCK_JUMP, Airline, Job, JobQuerySet

VIEWED_FOR: Final = timedelta(seconds=45)  # after a report of an open page, which reports every 30 s


def most_urgent() -> Job | None:
    """Return the due job to do next: jobs a page shows come first, then the one that has waited longest."""
    now = timezone.now()
    viewed = Q(watched_until__gt=now, watched_until__lte=now + CLOCK_JUMP)
    not_viewed = Case(When(viewed, then=0), default=1)
    return callable_jobs().due(now).order_by(not_viewed, "due_at", "pk").first()


def callable_jobs() -> JobQuerySet:
    """Return the jobs of the kinds that this version knows. A newer version may have created others."""
    known = Q(name__in=settings.JOBS)
    for kind in settings.JOBS_PER_AIRLINE:
        known |= Q(name__startswith=f"{kind}:")
    return Job.objects.filter(known)


def resolve(name: str) -> tuple[str, ...]:
    """Return the dotted path of the job's function, and its arguments. Raises KeyError for an unknown kind."""
    kind, _, rest = name.partition(":")
    if not rest:
        return (settings.JOBS[name],)
    airline, _, part = rest.partition("/")
    function = settings.JOBS_PER_AIRLINE[kind].function
    return (function, airline, part) if part else (function, airline)


def set_partitions(name: str, partitions: Collection[str]) -> None:
    """Split the work of the job `name` into these parts, each a job of its own: `name/part`.

    The part "" is the job itself. Without other parts the job does all of the work.
    """
    wanted = {f"{name}/{part}" for part in partitions if part}
    rows = Job.objects.filter(name__startswith=f"{name}/")
    existing = set(rows.values_list("name", flat=True))
    now = timezone.now()
    if missing := sorted(wanted - existing):
        Job.objects.bulk_create([Job(name=each, due_at=now) for each in missing], ignore_conflicts=True)
    if existing - wanted:
        _delete_locked(rows.filter(name__in=existing - wanted))


def partitions_of(name: str) -> list[str]:
    """Return the parts of the job; none if it is not split."""
    names = Job.objects.filter(name__startswith=f"{name}/").order_by("name").values_list("name", flat=True)
    return [each.removeprefix(f"{name}/") for each in names]


def mark_viewed(airlines: Collection[str]) -> None:
    """Make the jobs of these airlines urgent whose kind is `urgent_when_viewed`, because a page shows them.

    For `VIEWED_FOR` they come before other jobs, and they are due as soon as the interval since their last start has
    passed.
    """
    now = timezone.now()
    kinds = [name for name, kind in settings.JOBS_PER_AIRLINE.items() if kind.urgent_when_viewed]
    named = Q(pk=None)
    for job in (f"{kind}:{airline}" for kind in kinds for airline in airlines):
        named |= Q(name=job) | Q(name__startswith=f"{job}/")
    interval = timedelta(seconds=settings.POLL_INTERVAL)
    after_start = ExpressionWrapper(F("started_at") + interval, output_field=DateTimeField())
    soonest = Case(When(started_at__gt=now - interval, then=after_start), default=Value(now))
    # Jobs already viewed are on time, and failing jobs are retried with their own pauses.
    newly_viewed = (Q(watched_until=None) | Q(watched_until__lte=now) | Q(watched_until__gt=now + CLOCK_JUMP)) & Q(
        failures=0
    )
    with transaction.atomic():
        Job.objects.filter(named).locked().update(
            watched_until=now + VIEWED_FOR,
            due_at=Case(When(newly_viewed, then=Least(F("due_at"), soonest)), default=F("due_at")),
        )


def make_due(name: str) -> None:
    """Make the job `name` due now. A job that runs already sees the new work when it is due next."""
    now = timezone.now()
    with transaction.atomic():
        Job.objects.free(now).filter(name=name, failures=0).locked().update(due_at=now)


def _delete_locked(rows: JobQuerySet) -> None:
    with transaction.atomic():
        rows.locked().delete()


def sync_job_rows() -> None:
    """Create the missing jobs of every airline, and delete those of airlines that no longer exist."""
    airlines = Airline.objects.order_by().values_list("name", flat=True)
    rows = set(Job.objects.order_by().values_list("name", flat=True))
    heads = {f"{kind}:{airline}" for kind in settings.JOBS_PER_AIRLINE for airline in airlines}
    now = timezone.now()
    new = [Job(name=name, due_at=now) for name in sorted((heads | set(settings.JOBS)) - rows)]
    if new:
        Job.objects.bulk_create(new, ignore_conflicts=True)
    kinds = tuple(f"{kind}:" for kind in settings.JOBS_PER_AIRLINE)
    old = [name for name in rows if name.startswith(kinds) and name.partition("/")[0] not in heads]
    if old:
        _delete_locked(Job.objects.filter(name__in=old))
