"""WebSocket consumer of /ws/live/: authorises its user, sends changes, and rechecks the authorisation.

It rechecks when `RevocationWatcher` has seen a change, and every REAUTHORISE seconds in any case. Touches sessions and
users through `authentication` and `scope`, the feed through `reader`, and reports through `viewer_tracker` which
airline its page shows, so that the airline is polled more often. There is no channel layer: the feed in the database
reaches every process. A slow browser costs only the newest state of each object: `Outbox` sends no faster than the
browser acknowledges.

The browser sends {"watch": {"airline", "tail", "campaign", "topics"}, "rev": N, "acks": true} and, for every message
with "changes", {"ack": N}. The server sends {"rev", "changes"}, {"rev"} as a sign of life, {"reload": true} and
{"error"} before it closes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseTrouble

from ifeportal.live.connections import connected, disconnected, in_thread, open_sockets
from ifeportal.live.feed_query import missed_since
from ifeportal.live.protocol import SIGNED_OUT, BadMessage, Rejected, SubscribeRequest, parse_message
from ifeportal.live.reader import FeedReader
from ifeportal.live.scope import Scope, scope_for
from ifeportal.live.sockets.authentication import user_of_session
from ifeportal.live.sockets.outbox import TRY_LATER, Outbox
from ifeportal.live.sockets.revocation import (
    AccessSnapshot,
    AuthorizedListener,
    Credential,
    RevocationWatcher,
    access_snapshot,
)
from ifeportal.live.sockets.viewers import viewer_tracker
from ifeportal.live.subscription import PendingChange
from ifeportal.models import User

REAUTHORISE = 30.0  # seconds
PING = 20.0  # seconds
SUBSCRIBE_LIMIT = 60  # subscriptions, one after the other, of one socket

BAD_MESSAGE = 4400
TOO_MANY = 4429

logger = logging.getLogger(__name__)


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no annotations
    """One open socket of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.revocations = RevocationWatcher.current()
        self.authorized: AuthorizedListener | None = None
        self.recheck_due = False
        self.user: User | None = None
        self.subscribe_request: SubscribeRequest | None = None
        self.subscribe_count = 0
        self.outbox = Outbox(FeedReader.current(), self.send)
        self.writer: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket to its end, however it ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    async def connect(self) -> None:
        """Admit a signed-in user; send anyone else the reason and close."""
        await self.accept()
        try:
            user, access, _ = await in_thread(_authorise, self._session_key(), None)
        except Rejected as refused:
            await self._reject(refused.code, str(refused))
        except DatabaseTrouble as error:
            await self._database_unavailable("admitting a socket", error)
        else:
            await self._admit(user, access)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a message of the browser: what it watches, or an acknowledgement."""
        if self.user is None:
            return
        try:
            message = parse_message(text_data or "")
        except BadMessage as bad:
            await self._reject(BAD_MESSAGE, str(bad))
            return
        if isinstance(message, int):
            self.outbox.acknowledge(message)
        elif self.subscribe_count == SUBSCRIBE_LIMIT:
            await self._reject(TOO_MANY, "Too many requests on one socket.")
        else:
            self.subscribe_count += 1
            await self._subscribe(message)

    async def _admit(self, user: User, access: AccessSnapshot) -> None:
        if open_sockets[user.pk] >= settings.LIVE_SOCKETS_PER_USER:
            await self._reject(TOO_MANY, "You have too many pages open.")
            return
        self.user = user
        connected(user.pk)
        credential = Credential(session=self._session_key())
        self.authorized = AuthorizedListener(credential, user.pk, access, self._request_recheck)
        self.revocations.add(self.authorized)
        self.writer = asyncio.create_task(self._write(), name="live-writer")

    def _release(self) -> None:
        """Release everything this socket uses; may be called twice."""
        if self.writer is not None and self.writer is not asyncio.current_task():
            self.writer.cancel()
        self.outbox.unsubscribe()
        if self.authorized is not None:
            self.revocations.remove(self.authorized)
            self.authorized = None
        if self.user is not None:
            disconnected(self.user.pk)
            self.user = None

    async def _subscribe(self, watch: SubscribeRequest) -> None:
        """Subscribe before reading what was missed, so that no change falls between the two."""
        self.outbox.unsubscribe()
        try:
            user, access, scope = await in_thread(_authorise, self._session_key(), watch)
            assert scope is not None
            self._update_access(access)
            await self.outbox.subscribe(scope, acks=watch.acks)
            self.subscribe_request = watch
            missed = await in_thread(_read_missed, watch, user, scope)
        except Rejected as refused:
            await self._reject(refused.code, str(refused))
        except DatabaseTrouble as error:
            await self._database_unavailable("starting live updates", error)
        else:
            self.outbox.begin(watch.rev or 0, missed)

    async def _write(self) -> None:
        """Send everything that is sent while the socket is open, in one task so that messages keep their order."""
        try:
            await self._write_until_rejected()
        except Rejected as refused:
            await self._reject(refused.code, str(refused))
        except Exception:
            logger.exception("live: sending changes to user %s failed", self.user)
            await self._reject(TRY_LATER, "Live updates were interrupted.")

    async def _write_until_rejected(self) -> None:
        clock = asyncio.get_running_loop().time
        ping_at, check_at = clock() + PING, clock() + REAUTHORISE
        while True:
            await self.outbox.send_pending(clock())
            await self.outbox.wait(min(ping_at, check_at) - clock())
            if self.recheck_due or clock() >= check_at:
                await self._reauthorise()
                check_at = clock() + REAUTHORISE
            if clock() >= ping_at:
                await self.outbox.send_ping()
                ping_at = clock() + PING

    async def _reauthorise(self) -> None:
        """Read user and rights again. Raises Rejected if the user lost an airline that the socket receives."""
        subscription, self.recheck_due = self.outbox.subscription, False
        try:
            _, access, scope = await in_thread(
                _authorise_again, self._session_key(), self.subscribe_request if subscription else None
            )
        except DatabaseTrouble as error:
            # Without the database there are no changes to withhold either.
            logger.warning("live: rechecking access failed: %s", error)
            return
        self._update_access(access)
        if scope is None or subscription is None:
            return
        if scope.is_narrower_than(subscription.scope):
            raise Rejected(SIGNED_OUT, "You no longer have access to an airline on this page.")
        has_lower_role = scope.has_lower_role_than(subscription.scope)
        subscription.scope = scope
        if has_lower_role:
            subscription.require_reload()  # drops pending changes; the reloaded page shows what is still visible

    def _request_recheck(self) -> None:
        self.recheck_due = True
        self.outbox.wake.set()

    def _update_access(self, access: AccessSnapshot) -> None:
        if self.authorized is not None:
            self.authorized.access = access

    def _session_key(self) -> str:
        key: str = self.scope["cookies"].get(settings.SESSION_COOKIE_NAME, "")
        return key

    async def _database_unavailable(self, doing: str, error: DatabaseTrouble) -> None:
        logger.warning("live: %s: the database is not responding: %s", doing, error)
        await self._reject(TRY_LATER, "The database is not responding. Try again.")

    async def _reject(self, code: int, sentence: str) -> None:
        self._release()
        await self.send(json.dumps({"error": sentence}))
        await self.close(code)


def _authorise(session_key: str, watch: SubscribeRequest | None) -> tuple[User, AccessSnapshot, Scope | None]:
    user = user_of_session(session_key)
    access = access_snapshot(user)  # before the scope, so that a change between the two is noticed
    return user, access, scope_for(user, watch) if watch else None


def _authorise_again(session_key: str, watch: SubscribeRequest | None) -> tuple[User, AccessSnapshot, Scope | None]:
    result = _authorise(session_key, watch)
    if watch:
        _report_viewed(watch)
    return result


def _read_missed(watch: SubscribeRequest, user: User, scope: Scope) -> Sequence[PendingChange] | None:
    _report_viewed(watch)
    return [] if watch.rev is None else missed_since(watch.rev, user, scope)


def _report_viewed(watch: SubscribeRequest) -> None:
    """Have the page's airline polled more often. A page of all airlines names none."""
    if watch.airline is not None:
        viewer_tracker.viewed(watch.airline)
