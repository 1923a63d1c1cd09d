"""Detects within a second that a listener signed out, was disabled, lost its token, an airline or a role.

Listeners are live sockets, streams and waiting requests of the API. Reads sessions, tokens, users, memberships and
second factors: one task and one thread per process, at most five queries every CHECK_INTERVAL while there are
listeners. It compares them with the snapshot each listener was authorised by, and asks a listener to recheck its access
if its session or token is gone or its user differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import Error as DatabaseTrouble
from django.utils import timezone

from ifeportal.live.loop_task import LoopTask
from ifeportal.models import Membership, Token, User

CHECK_INTERVAL = 0.5  # seconds
logger = logging.getLogger(__name__)


class Credential(NamedTuple):
    """What a listener authenticated with: the key of a session, or the id of a token."""

    session: str | None = None
    token: int | None = None


class AccessSnapshot(NamedTuple):
    """Everything that decides whether a user is signed in and what they may see."""

    password: str
    session_epoch: int
    active: bool
    staff: bool
    roles: frozenset[tuple[int, str]]  # airline, role
    factors: frozenset[int]  # second factors; empty unless some role requires one


class AccessGrant(NamedTuple):
    """What a request authenticated with, and the snapshot that its access was derived from."""

    credential: Credential
    access: AccessSnapshot


@dataclass(eq=False, slots=True)
class AuthorizedListener:
    """One listener: the snapshot it was authorised by, and the callback that makes it recheck its access."""

    credential: Credential
    user: int
    access: AccessSnapshot
    recheck: Callable[[], None]


class RevocationWatcher(LoopTask):
    """Watches the access of the listeners of one event loop."""

    name = "live-rights"

    def __init__(self) -> None:
        super().__init__()
        self._listeners: set[AuthorizedListener] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: AuthorizedListener) -> None:
        """Watch this listener from now on; the first one starts the task."""
        self._listeners.add(listener)
        if self._task is None:
            self._open_thread()
            self._start_task(self._follow())

    def remove(self, listener: AuthorizedListener) -> None:
        """Stop watching this listener; the last one ends the task."""
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
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
        listeners = list(self._listeners)
        credentials, users = {each.credential for each in listeners}, {each.user for each in listeners}
        valid, snapshots = await self._query(partial(_read_access, credentials, users))
        for listener in listeners:
            if listener.credential not in valid or snapshots.get(listener.user) != listener.access:
                listener.recheck()


def access_snapshot(user: User) -> AccessSnapshot:
    """Return the snapshot of a user row. Take it before reading what it decides, so that later changes are noticed."""
    return _snapshot(
        (user.password, user.session_epoch, user.is_active, user.is_staff),
        _roles({user.pk}).get(user.pk, ()),
        _factors({user.pk}).get(user.pk, ()),
    )


def _snapshot(
    columns: tuple[str, int, bool, bool], roles: Iterable[tuple[int, str]], factors: Iterable[int]
) -> AccessSnapshot:
    return AccessSnapshot(*columns, frozenset(roles), frozenset(factors))


def _read_access(
    credentials: Iterable[Credential], users: Collection[int]
) -> tuple[set[Credential], dict[int, AccessSnapshot]]:
    """Return the credentials that are valid, and the snapshots of the users that exist."""
    roles, factors = _roles(users), _factors(users)
    rows = User.objects.filter(pk__in=users).values_list("pk", "password", "session_epoch", "is_active", "is_staff")
    return _valid(credentials), {
        pk: _snapshot((password, epoch, active, staff), roles.get(pk, ()), factors.get(pk, ()))
        for pk, password, epoch, active, staff in rows
    }


def _valid(credentials: Iterable[Credential]) -> set[Credential]:
    now = timezone.now()
    sessions = {each.session for each in credentials if each.session is not None}
    tokens = {each.token for each in credentials if each.token is not None}
    valid: set[Credential] = set()
    if sessions:
        rows = Session.objects.filter(session_key__in=sessions, expire_date__gt=now)
        valid |= {Credential(session=key) for key in rows.values_list("session_key", flat=True)}
    if tokens:
        usable = Token.objects.valid(now).filter(pk__in=tokens)
        valid |= {Credential(token=pk) for pk in usable.values_list("pk", flat=True)}
    return valid


def _roles(users: Collection[int]) -> dict[int, set[tuple[int, str]]]:
    roles: dict[int, set[tuple[int, str]]] = {}
    for user, airline, role in Membership.objects.filter(user__in=users).values_list("user_id", "airline_id", "role"):
        roles.setdefault(user, set()).add((airline, role))
    return roles


def _factors(users: Collection[int]) -> dict[int, set[int]]:
    factors: dict[int, set[int]] = {}
    if settings.SECOND_FACTOR_FOR:
        for user, pk in Authenticator.objects.filter(user__in=users).values_list("user_id", "pk"):
            factors.setdefault(user, set()).add(pk)
    return factors
