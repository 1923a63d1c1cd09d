"""Figures about jobs for alerts, without names of airlines. Reads rows of `Job` and the length of django-q2's queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ifeportal.jobs import broker
from ifeportal.models import PACEMAKER, Job


@dataclass(frozen=True)
class Alerts:
    """Jobs that nobody does though they are due, jobs whose last attempt failed, calls that wait for a worker, and
    whether a pacemaker wakes the workers."""

    jobs_late: int
    jobs_failing: int
    calls_waiting: int
    pacemaker: bool


def current_alerts(now: datetime) -> Alerts:
    """How things are. Raises the errors of django.db."""
    return Alerts(
        jobs_late=Job.objects.late(now).count(),
        jobs_failing=Job.objects.without_pacemaker().failing().count(),
        calls_waiting=broker.queued_wakeups(),
        pacemaker=Job.objects.running(now).filter(name=PACEMAKER).exists(),
    )
