"""Detects within a second that a subscriber signed out, was disabled or lost an airline.

Reads sessions, users and memberships: one task and one thread per process, three queries every CHECK_INTERVAL while
anybody is connected. It compares them with the snapshot each socket was authorised by, and asks a socket to check again
if its session is gone or its user differs.
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
    """What decides who a user is and what they may see."""

    password: str
    active: bool
    staff: bool
    roles: frozenset[tuple[int, str]]  # airline, role


@dataclass(eq=False, slots=True)
class AuthorizedSocket:
    """One socket: by what its rights were found, and how to tell it to look again."""

    session: str
    user: int
    access: AccessSnapshot
    recheck: Callable[[], None]


class RevocationWatcher(LoopTask):
    """Watches over the sockets of one event loop."""

    name = "live-rights"

    def __init__(self) -> None:
        super().__init__()
        self._sockets: set[AuthorizedSocket] = set()

    def add(self, hold: AuthorizedSocket) -> None:
        """From now on watch over this socket; the first one starts the task."""
        self._sockets.add(hold)
        if self._task is None:
            self._open_thread()
            self._start_task(self._follow())

    def remove(self, hold: AuthorizedSocket) -> None:
        """Not any more; the last one ends the task."""
        self._sockets.discard(hold)
        if not self._sockets and self._task is not None:
            self._end()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                await self._check()
            except DatabaseTrouble as error:
                # Without the database there is no news to keep from anyone either.
                logger.warning("live: looking who may still listen: the database does not answer: %s", error)
                await self._close_connection()

    async def _check(self) -> None:
        holds = list(self._sockets)
        sessions, users = {hold.session for hold in holds}, {hold.user for hold in holds}
        alive, standings = await self._query(partial(_read_snapshots, sessions, users))
        for hold in holds:
            if hold.session not in alive or standings.get(hold.user) != hold.access:
                hold.recheck()


def access_snapshot(user: User) -> AccessSnapshot:
    """How the user stands, as read with the row in hand; read it before what is decided by it."""
    roles = frozenset(Membership.objects.filter(user=user).values_list("airline_id", "role"))
    return AccessSnapshot(user.password, user.is_active, user.is_staff, roles)


def _read_snapshots(sessions: Iterable[str], users: Iterable[int]) -> tuple[set[str], dict[int, AccessSnapshot]]:
    """The sessions that are there, and how each user stands who is."""
    there = Session.objects.filter(session_key__in=sessions, expire_date__gt=timezone.now())
    alive = set(there.values_list("session_key", flat=True))
    roles: dict[int, set[tuple[int, str]]] = {}
    for user, airline, role in Membership.objects.filter(user__in=users).values_list("user_id", "airline_id", "role"):
        roles.setdefault(user, set()).add((airline, role))
    rows = User.objects.filter(pk__in=users).values_list("pk", "password", "is_active", "is_staff")
    return alive, {
        pk: AccessSnapshot(password, active, staff, frozenset(roles.get(pk, ())))
        for pk, password, active, staff in rows
    }
