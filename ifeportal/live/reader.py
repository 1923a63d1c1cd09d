"""Reader of the change feed: one task and one thread per process, however many sockets are open.

Touches the feed's tables, read only. It runs while there are subscriptions: when something is published, and at least
every TICK, it queries the changes that are newer than its revision, and offers them to every subscription. While the
database is unavailable it retries with growing delays.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import Error as DatabaseTrouble

from ifeportal.live.feed import current_rev
from ifeportal.live.feed_query import changes_after
from ifeportal.live.loop_task import LoopTask
from ifeportal.live.subscription import Subscription
from ifeportal.wakeups import CHANGES, wait
from loader.s3.retry import Backoff, no_jitter

TICK = 0.25  # seconds; SQLite, and a pooler that drops notifications, delay changes by that
SHORTEST_PAUSE = 0.05  # seconds between two queries, however often something is published
MAX_RETRY_DELAY = 10.0  # seconds between two attempts while the database is unavailable

logger = logging.getLogger(__name__)


class FeedReader(LoopTask):
    """Follows the feed for the sockets of one event loop."""

    name = "live-reader"

    def __init__(self) -> None:
        super().__init__()
        self.rev = 0
        self._subscriptions: set[Subscription] = set()
        self._starting = asyncio.Lock()
        self._backoff = Backoff(None, 2 * TICK, MAX_RETRY_DELAY, jitter=no_jitter)

    def __len__(self) -> int:
        return len(self._subscriptions)

    async def attach(self, subscription: Subscription) -> None:
        """Offer changes to the subscription from now on; the first one starts the task. Raises django.db.Error."""
        async with self._starting:
            if self._task is None:
                self._open_thread()
                try:
                    self.rev = await self._query(current_rev)
                except BaseException:
                    self._end()
                    raise
                self._start_task(self._follow())
            self._subscriptions.add(subscription)

    def detach(self, subscription: Subscription) -> None:
        """Stop offering changes to the subscription; the last one ends the task."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions and self._task is not None:
            self._end()

    async def _follow(self) -> None:
        pause = SHORTEST_PAUSE
        self._backoff.reset()
        try:
            while True:
                await asyncio.sleep(pause)
                pause = await self._tick()
        except Exception:
            logger.exception("live feed: failed to read changes")
            # Closed sockets make the browsers reconnect, which starts a new task.
            for subscription in self._subscriptions:
                subscription.close()
            self._end()

    async def _tick(self) -> float:
        """Wait for changes, read and offer them. Return the seconds to wait before the next time."""
        try:
            if self._backoff.failures:
                await self._recover()
            await self._query(lambda: wait(CHANGES, TICK - SHORTEST_PAUSE))
            changes = await self._query(lambda: changes_after(self.rev))
        except DatabaseTrouble as error:
            logger.warning("live feed: the database is not responding: %s", error)
            await self._close_connection()
            return self._backoff.next_delay()
        self._backoff.reset()
        if changes:
            self.rev = changes[-1].change.rev
            for subscription in self._subscriptions:
                subscription.offer(changes)
        return SHORTEST_PAUSE

    async def _recover(self) -> None:
        """Continue after an outage. A database restored to an earlier state never reaches the reader's revision."""
        rev = await self._query(current_rev)
        logger.info("live feed: the database is responding again")
        if rev < self.rev:
            self.rev = rev
            for subscription in self._subscriptions:
                subscription.require_reload()
