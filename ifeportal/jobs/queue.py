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

from ifeportal.models import Airline, Job, JobQuerySet

VIEWED_FOR: Final = timedelta(seconds=45)  # after a page that is open said so; it says so every 30 s


def most_urgent() -> Job | None:
    """Of the jobs that are due: what somebody looks at before the rest, then what has waited longest."""
    now = timezone.now()
    unwatched = Case(When(watched_until__gt=now, then=0), default=1)
    return callable_jobs().due(now).order_by(unwatched, "due_at", "pk").first()


def callable_jobs() -> JobQuerySet:
    """The rows of the kinds of work that this version knows."""
    known = Q(name__in=settings.JOBS)
    for kind in settings.JOBS_PER_AIRLINE:
        known |= Q(name__startswith=f"{kind}:")
    return Job.objects.filter(known)


def resolve(name: str) -> tuple[str, ...]:
    """The path of the function that does a job, and its arguments. Raises KeyError for work nobody knows."""
    kind, _, rest = name.partition(":")
    if not rest:
        return (settings.JOBS[name],)
    airline, _, part = rest.partition("/")
    function = settings.JOBS_PER_AIRLINE[kind].function
    return (function, airline, part) if part else (function, airline)


def set_partitions(name: str, partitions: Collection[str]) -> None:
    """Let the work of the job `name` be done in these parts besides, each a job of its own: `name/part`.

    No parts, or only "", which is the job itself: it is done whole.
    """
    wanted = {f"{name}/{part}" for part in partitions if part}
    rows = Job.objects.filter(name__startswith=f"{name}/")
    there = set(rows.values_list("name", flat=True))
    now = timezone.now()
    if wanted - there:
        Job.objects.bulk_create([Job(name=each, due_at=now) for each in sorted(wanted - there)], ignore_conflicts=True)
    if there - wanted:
        _delete_locked(rows.filter(name__in=there - wanted))


def partitions_of(name: str) -> list[str]:
    """The parts the work of the job is done in; none while it is done whole."""
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
    # Who has watched already needs no hurry, and what fails is tried again at its own pace.
    begins = (Q(watched_until=None) | Q(watched_until__lte=now)) & Q(failures=0)
    with transaction.atomic():
        Job.objects.filter(named).locked().update(
            watched_until=now + VIEWED_FOR,
            due_at=Case(When(begins, then=Least(F("due_at"), soonest)), default=F("due_at")),
        )


def make_due(name: str) -> None:
    """There is work for the job `name`: it is due now. One that runs already looks again when it is due next."""
    now = timezone.now()
    with transaction.atomic():
        Job.objects.free(now).filter(name=name, failures=0).locked().update(due_at=now)


def _delete_locked(rows: JobQuerySet) -> None:
    with transaction.atomic():
        rows.locked().delete()


def sync_job_rows() -> None:
    """See that there is a row for every job of every airline, and none of an airline that is no more."""
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
