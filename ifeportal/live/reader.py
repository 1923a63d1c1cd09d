"""Reader of the change feed: one task and one thread per process, however many sockets are open.

Touches the feed's tables, read only. It runs while anybody listens: it asks the database every TICK for what is newer
than what it has, and offers that to every subscription. A database that is away is asked again, less and less often.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseTrouble
from django.db import connection

from ifeportal.live.feed import current_rev
from ifeportal.live.models import Change
from ifeportal.live.pruning import oldest_complete_rev
from ifeportal.live.scope import Scope
from ifeportal.live.subscription import PENDING_LIMIT, PendingChange, Subscription
from ifeportal.models import User
from loader.s3.retry import Backoff, no_jitter

TICK = 0.25  # seconds
MAX_RETRY_DELAY = 10.0  # seconds between two tries while the database is away
READ_LIMIT = 2000  # rows

T = TypeVar("T")
logger = logging.getLogger(__name__)


class FeedReader:
    """Follows the feed for the sockets of one event loop."""

    def __init__(self) -> None:
        self.rev = 0
        self._subscriptions: set[Subscription] = set()
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._backoff = Backoff(None, 2 * TICK, MAX_RETRY_DELAY, jitter=no_jitter)

    def __len__(self) -> int:
        return len(self._subscriptions)

    async def attach(self, subscription: Subscription) -> None:
        """From now on offer news to the subscription; the first one starts the task. Raises django.db.Error."""
        async with self._starting:
            if self._task is None:
                self._thread = ThreadPoolExecutor(1, "live-reader")
                try:
                    self.rev = await self._query(current_rev)
                except BaseException:
                    self._end_thread()
                    raise
                self._task = asyncio.create_task(self._follow(), name="live-reader")
            self._subscriptions.add(subscription)

    def detach(self, subscription: Subscription) -> None:
        """Offer nothing any more; the last one ends the task."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions and self._task is not None:
            self._task.cancel()
            self._end()

    async def _follow(self) -> None:
        pause = TICK
        self._backoff.reset()
        try:
            while True:
                await asyncio.sleep(pause)
                pause = await self._tick()
        except Exception:
            logger.exception("live feed: reading it failed")
            # The sockets must know, so that the browsers come again and a new task begins.
            for subscription in self._subscriptions:
                subscription.close()
            self._end()

    async def _tick(self) -> float:
        """Read and offer once; answers how long to wait until the next time, in seconds."""
        try:
            if self._backoff.failures:
                await self._recover()
            news = await self._query(lambda: changes_after(self.rev))
        except DatabaseTrouble as error:
            logger.warning("live feed: the database does not answer: %s", error)
            await self._query(_close_connection)
            return self._backoff.next_delay()
        self._backoff.reset()
        if news:
            self.rev = news[-1].change.rev
            for subscription in self._subscriptions:
                subscription.offer(news)
        return TICK

    async def _recover(self) -> None:
        """After an outage: a database that was put back to an earlier state would be waited for in vain."""
        rev = await self._query(current_rev)
        logger.info("live feed: the database answers again")
        if rev < self.rev:
            self.rev = rev
            for subscription in self._subscriptions:
                subscription.require_reload()

    async def _query(self, question: Callable[[], T]) -> T:
        assert self._thread is not None
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)

    def _end(self) -> None:
        self._task = None
        self._end_thread()

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.submit(_close_connection)
            self._thread.shutdown(wait=False)
            self._thread = None


def _close_connection() -> None:
    """Close the connection of the thread this runs in."""
    connection.close()


_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, FeedReader] = WeakKeyDictionary()


def feed_reader() -> FeedReader:
    """The one reader of the running event loop."""
    return _readers.setdefault(asyncio.get_running_loop(), FeedReader())


def changes_after(rev: int) -> list[PendingChange]:
    """What is newer than `rev`, oldest first: whole revisions only, about READ_LIMIT rows. One query, as a rule.

    A revision is never split: who goes on from the last row's revision misses nothing.
    """
    newer = Change.objects.filter(rev__gt=rev).order_by("rev")
    rows = list(newer[: READ_LIMIT + 1])
    if len(rows) > READ_LIMIT:
        cut = rows[-1].rev
        rows = [row for row in rows if row.rev < cut] or list(newer.filter(rev=cut))
    return [_pending_change(row) for row in rows]


def missed_since(rev: int, user: User, scope: Scope) -> list[PendingChange] | None:
    """What the user's page missed since it was made at revision `rev`; None if only a new page can help.

    That is: too much was missed, or deletions since then were forgotten, or there never was such a revision, because
    the database was put back or made anew.
    """
    rows = scope.narrow(Change.objects.relevant_to(user)).filter(rev__gt=rev).order_by("rev")
    found = list(rows[: PENDING_LIMIT + 1])
    if len(found) > PENDING_LIMIT or rev < oldest_complete_rev() or (not found and rev > current_rev()):
        return None
    return changes_seen_in(scope, found)


def changes_seen_in(scope: Scope, rows: Iterable[Change]) -> list[PendingChange]:
    """The rows as a subscriber of this scope receives them, without those that are not for them."""
    seen = (_pending_change(row).as_seen_in(scope) for row in rows)
    return [item for item in seen if item is not None]


def _pending_change(change: Change) -> PendingChange:
    retraction = _change_json(change, "delete", {}) if change.retracted_from else ""
    return PendingChange(change, _change_json(change, change.op, change.state), retraction)


def _change_json(change: Change, op: str, state: Mapping[str, Any]) -> str:
    """A change as JSON, as it stands in a message."""
    shown = {"topic": change.topic, "object": change.object, "op": op, "state": state}
    return json.dumps(shown, separators=(",", ":"))


def changes_message(rev: int, texts: Sequence[str] = ()) -> str:
    """A message of changes as JSON; the browser then has everything up to `rev`."""
    return f'{{"rev":{rev},"changes":[{",".join(texts)}]}}'
