"""Messages to one browser: pending changes as fast as it acknowledges them, and signs of life. Touches no database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ifeportal.live.protocol import Rejected, changes_message
from ifeportal.live.reader import FeedReader
from ifeportal.live.scope import Scope
from ifeportal.live.subscription import PendingChange, Subscription

ACK_LIMIT = 4  # messages on their way to a browser that acknowledges
ACK_TIMEOUT = 30.0  # seconds
TOO_SLOW = 4408
TRY_LATER = 1013


class Outbox:
    """The sending side of one socket. One task at a time may send, so that messages keep their order."""

    def __init__(self, reader: FeedReader, send: Callable[[str], Awaitable[None]]) -> None:
        self.subscription: Subscription | None = None
        self.wake = asyncio.Event()  # set when there may be something to send
        self._reader = reader
        self._send = send
        self._acks = False
        self._unacknowledged: deque[tuple[int, float]] = deque()  # revision, when it was sent
        self._welcome_due = False

    async def subscribe(self, scope: Scope, *, acks: bool) -> Subscription:
        """Collect the changes of this scope; nothing is sent before `begin`. Raises django.db.Error."""
        subscription = Subscription(scope, self.wake.set)
        await self._reader.attach(subscription)
        self.subscription, self._acks = subscription, acks
        return subscription

    def begin(self, since: int, missed: Sequence[PendingChange] | None) -> None:
        """Send what was missed since this revision, then what was collected; None makes the browser load the page."""
        if self.subscription is None:
            return
        self._welcome_due = True
        self.subscription.begin(since, missed or ())
        if missed is None:
            self.subscription.require_reload()

    def unsubscribe(self) -> None:
        """Discard what is pending; may be called twice."""
        if self.subscription is not None:
            self._reader.detach(self.subscription)
            self.subscription = None
        self._unacknowledged.clear()

    def acknowledge(self, rev: int) -> None:
        """Take the browser's word that it has applied everything up to this revision."""
        while self._unacknowledged and self._unacknowledged[0][0] <= rev:
            self._unacknowledged.popleft()
        self.wake.set()

    async def wait(self, seconds: float) -> None:
        """Wait until there may be something to send, at most this many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self.wake.wait()
        self.wake.clear()

    async def send_ping(self) -> None:
        """Send a sign of life, with the revision the browser has."""
        await self._send(json.dumps({"rev": self._rev()}))

    async def send_pending(self, now: float) -> None:
        """Send pending changes as far as the browser keeps up. Raises Rejected if it is too slow or the reader failed.

        `now` is the time of the event loop, in seconds.
        """
        if self._unacknowledged and now - self._unacknowledged[0][1] > ACK_TIMEOUT:
            raise Rejected(TOO_SLOW, "The connection is too slow for live updates.")
        while self.subscription is not None and len(self._unacknowledged) < ACK_LIMIT:
            if self.subscription.closed:
                raise Rejected(TRY_LATER, "Live updates were interrupted.")
            batch = self.subscription.take(self._reader.rev)
            if batch is None:
                break
            if batch.reload:
                await self._send('{"reload":true}')
            else:
                await self._send_changes(batch.rev, batch.texts, now)
        if self._welcome_due and self.subscription is not None:
            await self._send_changes(self._rev(), (), now)

    async def _send_changes(self, rev: int, texts: Sequence[str], now: float) -> None:
        self._welcome_due = False
        if self._acks:
            self._unacknowledged.append((rev, now))
        await self._send(changes_message(rev, texts))

    def _rev(self) -> int:
        return self.subscription.rev(self._reader.rev) if self.subscription else self._reader.rev
