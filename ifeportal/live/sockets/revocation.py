"""Detects within a second that a subscriber signed out, was disabled or lost an airline.

Reads sessions, users and memberships: one task and one thread per process, three queries every CHECK_INTERVAL while
sockets are open. It compares them with the snapshot each socket was authorised by, and asks a socket to recheck its
access if its session is gone or its user differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from django.contrib.sessions.models import Session
from django.db import Error as DatabaseTrouble
from django.utils import timezone

from ifeportal.live.loop_task import LoopTask
from ifeportal.models import Membership, User

CHECK_INTERVAL = 0.5  # seconds
logger = logging.getLogger(__name__)


class AccessSnapshot(NamedTuple):
    """Everything that decides whether a user is signed in and what they may see."""

    password: str
    active: bool
    staff: bool
    roles: frozenset[tuple[int, str]]  # airline, role


@dataclass(eq=False, slots=True)
class AuthorizedSocket:
    """One socket: the snapshot it was authorised by, and the callback that makes it recheck its access."""

    session: str
    user: int
    access: AccessSnapshot
    recheck: Callable[[], None]


class RevocationWatcher(LoopTask):
    """Watches the access of the sockets of one event loop."""

    name = "live-rights"

    def __init__(self) -> None:
        super().__init__()
        self._sockets: set[AuthorizedSocket] = set()

    def add(self, socket: AuthorizedSocket) -> None:
        """Watch this socket from now on; the first one starts the task."""
        self._sockets.add(socket)
        if self._task is None:
            self._open_thread()
            self._start_task(self._follow())

    def remove(self, socket: AuthorizedSocket) -> None:
        """Stop watching this socket; the last one ends the task."""
        self._sockets.discard(socket)
        if not self._sockets and self._task is not None:
            self._end()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                await self._check()
            except DatabaseTrouble as error:
                # Without the database there are no changes to withhold either.
                logger.warning("live: checking for revoked access: the database is not responding: %s", error)
                await self._close_connection()

    async def _check(self) -> None:
        sockets = list(self._sockets)
        sessions, users = {socket.session for socket in sockets}, {socket.user for socket in sockets}
        alive, snapshots = await self._query(partial(_read_snapshots, sessions, users))
        for socket in sockets:
            if socket.session not in alive or snapshots.get(socket.user) != socket.access:
                socket.recheck()


def access_snapshot(user: User) -> AccessSnapshot:
    """Return the snapshot of a user row. Take it before reading what it decides, so that later changes are noticed."""
    roles = frozenset(Membership.objects.filter(user=user).values_list("airline_id", "role"))
    return AccessSnapshot(user.password, user.is_active, user.is_staff, roles)


def _read_snapshots(sessions: Iterable[str], users: Iterable[int]) -> tuple[set[str], dict[int, AccessSnapshot]]:
    """Return the sessions that are valid, and the snapshots of the users that exist."""
    valid = Session.objects.filter(session_key__in=sessions, expire_date__gt=timezone.now())
    alive = set(valid.values_list("session_key", flat=True))
    roles: dict[int, set[tuple[int, str]]] = {}
    for user, airline, role in Membership.objects.filter(user__in=users).values_list("user_id", "airline_id", "role"):
        roles.setdefault(user, set()).add((airline, role))
    rows = User.objects.filter(pk__in=users).values_list("pk", "password", "is_active", "is_staff")
    return alive, {
        pk: AccessSnapshot(password, active, staff, frozenset(roles.get(pk, ())))
        for pk, password, active, staff in rows
    }
