"""Tells the jobs which airlines somebody looks at: each page that is open says so again and again, the database hears
it of one process once in a while. Touches the rows of jobs only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import Error as DatabaseTrouble

from ifeportal.jobs.queue import mark_viewed

AGAIN: Final = 12.0  # seconds; with the 30 s between two words of a page still below what one word counts for
logger = logging.getLogger(__name__)


class Watching:
    """What this process said of which airline when. For any number of threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def look(self, airline: str) -> None:
        """Somebody looks at this airline now. A database that does not answer is logged; the page lives without."""
        if not self._is_news(airline):
            return
        try:
            mark_viewed([airline])
        except DatabaseTrouble as error:
            logger.warning("live: raising the pace of an airline: the database does not answer: %s", error)

    def _is_news(self, airline: str) -> bool:
        now = self._clock()
        with self._lock:
            if now - self._said.get(airline, -AGAIN) < AGAIN:
                return False
            self._said = {name: at for name, at in self._said.items() if now - at < AGAIN} | {airline: now}
            return True


watching = Watching()
