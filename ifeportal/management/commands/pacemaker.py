"""`pacemaker`: wake workers when jobs are due, several times a second, until stopped."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, ProgrammingError, close_old_connections
from django.utils import timezone

from ifeportal.jobs.broker import seconds_to_next, wake_workers
from ifeportal.jobs.leases import Lease, lease
from ifeportal.jobs.queue import sync_job_rows
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.models import PACEMAKER
from ifeportal.work_lease import LeaseLost
from loader.s3.retry import Backoff, no_jitter

TICK: Final = 0.25  # seconds
SYNC_INTERVAL: Final = 1.0  # seconds between two searches for new and deleted airlines
LEASE: Final = 3.0  # seconds after which another takes over from a pacemaker that died
MAX_RETRY_DELAY: Final = 2.0  # seconds between two attempts while the database is unavailable
STANDBY_DELAY: Final = 1.0  # seconds between two attempts to take over
logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Wake the workers of qcluster when periodic work (polling the buckets) is due. Several pacemakers may run: one "
        "is active, the others stand by and take over within seconds. Stop it with SIGTERM or Ctrl-C."
    )
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        stop_on_signal(stop)
        logger.info("pacemaker started")
        backoff = Backoff(None, 2 * TICK, MAX_RETRY_DELAY, jitter=no_jitter)
        while not stop.is_set():
            try:
                pause = lead(stop)
                backoff.reset()
            except (OperationalError, InterfaceError, ProgrammingError) as error:
                pause = backoff.next_delay()
                # PostgreSQL reports missing tables as a ProgrammingError.
                logger.error(
                    "pacemaker: the database does not answer or has no tables (run manage.py migrate), "
                    "retrying in %.1f s: %s",
                    pause,
                    error,
                )
            close_old_connections()
            stop.wait(pause)
        logger.info("pacemaker stopped")


def lead(stop: threading.Event) -> float:
    """Wake workers for as long as this pacemaker has the lease. Return the seconds to wait before trying again."""
    with lease(PACEMAKER, LEASE) as claimed:
        if claimed is None:
            return STANDBY_DELAY
        logger.info("pacemaker is active")
        scheduler = Scheduler(claimed)
        try:
            while not stop.is_set():
                stop.wait(scheduler.tick())
        except LeaseLost as lost:
            logger.warning("pacemaker stands by: %s", lost)
    return STANDBY_DELAY


class Scheduler:
    """Wakes workers for due jobs, and creates the jobs of new airlines."""

    def __init__(self, claimed: Lease) -> None:
        self.lease = claimed
        self._next_sync_at = 0.0  # by the monotonic clock

    def tick(self) -> float:
        """Wake the workers that are needed. Return the seconds to wait before the next call. Raises LeaseLost."""
        self.lease.heartbeat()
        if time.monotonic() >= self._next_sync_at:
            sync_job_rows()
            self._next_sync_at = time.monotonic() + SYNC_INTERVAL
        wake_workers(timezone.now())
        soonest = seconds_to_next(timezone.now())
        return TICK if soonest is None else min(max(soonest, 0.0), TICK)
