"""Figures about jobs for alerts, without airline names. Reads rows of `Job` and the length of django-q2's queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ifeportal.jobs import broker
from ifeportal.models import PACEMAKER, Job


@dataclass(frozen=True)
class Alerts:
    """Overdue jobs, jobs whose last attempt failed, queued wake-up messages, and whether a pacemaker runs."""

    jobs_late: int
    jobs_failing: int
    calls_waiting: int
    pacemaker: bool


def current_alerts(now: datetime) -> Alerts:
    """Read the figures. Raises django.db.Error."""
    return Alerts(
        jobs_late=Job.objects.late(now).count(),
        jobs_failing=Job.objects.without_pacemaker().failing().count(),
        calls_waiting=broker.queued_wakeups(),
        pacemaker=Job.objects.running(now).filter(name=PACEMAKER).exists(),
    )
