"""Airlines with open pages, whose jobs run more often.

Each open page reports its airline repeatedly; this process writes at most one report per REPORT_INTERVAL seconds to the
database. Touches rows of `Job` only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import Error as DatabaseTrouble

from ifeportal.jobs.queue import mark_viewed

REPORT_INTERVAL: Final = 12.0  # seconds; with the 30 s between two reports of a page still less than `VIEWED_FOR`
logger = logging.getLogger(__name__)


class ViewerTracker:
    """Remembers when this process last reported each airline. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reported_at: dict[str, float] = {}

    def viewed(self, airline: str) -> None:
        """Report that a page shows this airline. A database error is only logged: the page works without the report."""
        if not self._should_report(airline):
            return
        try:
            mark_viewed([airline])
        except DatabaseTrouble as error:
            logger.warning("live: reporting a viewed airline: the database is not responding: %s", error)

    def _should_report(self, airline: str) -> bool:
        now = self._clock()
        with self._lock:
            if now - self._reported_at.get(airline, -REPORT_INTERVAL) < REPORT_INTERVAL:
                return False
            self._reported_at = {name: at for name, at in self._reported_at.items() if now - at < REPORT_INTERVAL} | {
                airline: now
            }
            return True


viewer_tracker = ViewerTracker()
