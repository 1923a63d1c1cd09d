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
SYNC_INTERVAL: Final = 1.0  # seconds between two updates of job rows to the current airlines
LEASE: Final = 3.0  # seconds after which another pacemaker replaces a dead one; renewed every third of it
MAX_RETRY_DELAY: Final = 2.0  # seconds between two attempts during a database outage
STANDBY_DELAY: Final = 1.0  # seconds between two attempts to take over
logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Wake the workers of qcluster when periodic jobs, such as polling the buckets, are due. Several can run: one "
        "is active, and another takes over within seconds if it dies. Stops on SIGTERM or Ctrl-C."
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
                # PostgreSQL raises ProgrammingError for missing tables, before the first migration.
                logger.error(
                    "pacemaker: the database is unavailable or its tables are missing (run manage.py migrate), "
                    "retrying in %.1f s: %s",
                    pause,
                    error,
                )
            close_old_connections()
            stop.wait(pause)
        logger.info("pacemaker stopped")


def lead(stop: threading.Event) -> float:
    """Wake workers while this pacemaker has the lease. Return the seconds to wait before the next attempt to get it."""
    with lease(PACEMAKER, LEASE) as own_lease:
        if own_lease is None:
            return STANDBY_DELAY
        logger.info("pacemaker active")
        scheduler = Scheduler(own_lease)
        try:
            while not stop.is_set():
                stop.wait(scheduler.tick())
        except LeaseLost as lost:
            logger.warning("pacemaker on standby: %s", lost)
    return STANDBY_DELAY


class Scheduler:
    """Repeated checks for due jobs, under a lease."""

    def __init__(self, own_lease: Lease) -> None:
        self.lease = own_lease
        self.next_sync_at = 0.0  # monotonic time of the next update of job rows

    def tick(self) -> float:
        """Wake workers for due jobs. Return the seconds to wait before the next check. Raises LeaseLost."""
        self.lease.heartbeat()
        if time.monotonic() >= self.next_sync_at:
            sync_job_rows()
            self.next_sync_at = time.monotonic() + SYNC_INTERVAL
        wake_workers(timezone.now())
        soonest = seconds_to_next(timezone.now())
        return TICK if soonest is None else min(max(soonest, 0.0), TICK)
