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
SYNC_INTERVAL: Final = 1.0  # seconds between two looks for airlines that came or went
LEASE: Final = 3.0  # seconds after which another goes on for a pacemaker that died; renewed each third of it
MAX_RETRY_DELAY: Final = 2.0  # seconds between two attempts while the database is away
STANDBY_DELAY: Final = 1.0  # seconds between two attempts to take over
logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Wakes the workers of qcluster when periodic work (polling the buckets) is due. Any number may run: one does "
        "it, the others stand by and go on for it within seconds. Ends on SIGTERM or Ctrl-C."
    )
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        stop_on_signal(stop)
        logger.info("pacemaker runs")
        backoff = Backoff(None, 2 * TICK, MAX_RETRY_DELAY, jitter=no_jitter)
        while not stop.is_set():
            try:
                pause = lead(stop)
                backoff.reset()
            except (OperationalError, InterfaceError, ProgrammingError) as error:
                pause = backoff.next_delay()
                # The last of these is PostgreSQL's word for tables that are not there (yet).
                logger.error(
                    "pacemaker: the database is away or its tables are missing (manage.py migrate makes them), "
                    "trying again in %.1f s: %s",
                    pause,
                    error,
                )
            close_old_connections()
            stop.wait(pause)
        logger.info("pacemaker stopped")


def lead(stop: threading.Event) -> float:
    """Wake workers for as long as no other pacemaker does; how many seconds to wait before trying to do so again."""
    with lease(PACEMAKER, LEASE) as held:
        if held is None:
            return STANDBY_DELAY
        logger.info("pacemaker leads")
        rounds = Scheduler(held)
        try:
            while not stop.is_set():
                stop.wait(rounds.tick())
        except LeaseLost as lost:
            logger.warning("pacemaker stands by: %s", lost)
    return STANDBY_DELAY


class Scheduler:
    """The looks of one pacemaker at what is due."""

    def __init__(self, held: Lease) -> None:
        self.held = held
        self.next_sync_at = 0.0  # when to look for airlines next, by the monotonic clock

    def tick(self) -> float:
        """Wake who is needed; how many seconds to wait before the next look. Raises LeaseLost."""
        self.held.heartbeat()
        if time.monotonic() >= self.next_sync_at:
            sync_job_rows()
            self.next_sync_at = time.monotonic() + SYNC_INTERVAL
        wake_workers(timezone.now())
        soonest = seconds_to_next(timezone.now())
        return TICK if soonest is None else min(max(soonest, 0.0), TICK)
