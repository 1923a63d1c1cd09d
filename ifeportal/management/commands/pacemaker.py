"""`pacemaker`: queues what is due, several times a second, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, ProgrammingError, close_old_connections
from django.utils import timezone

from ifeportal.jobs import enqueue_due, seconds_to_next

TICK = 0.25  # seconds
LONGEST_PAUSE = 5.0  # seconds between two attempts while the database is away
FAILURES_COUNTED = 16  # in a row; more make a power too large for a float
logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Queues periodic work (polling the buckets) for the workers of qcluster when it is due. Any number may run: "
        "each job is queued by one of them. Ends on SIGTERM or Ctrl-C."
    )
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        logger.info("pacemaker runs")
        failures = 0
        while not stop.is_set():
            try:
                pause = tick()
                failures = 0
            except (OperationalError, InterfaceError, ProgrammingError) as error:
                failures = min(failures + 1, FAILURES_COUNTED)
                pause = min(TICK * 2**failures, LONGEST_PAUSE)
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


def tick() -> float:
    """Queue what is due; how many seconds to wait before the next look."""
    enqueue_due(timezone.now())
    soonest = seconds_to_next(timezone.now())
    return TICK if soonest is None else min(max(soonest, 0.0), TICK)
