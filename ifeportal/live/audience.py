"""Who may hear of what: what a socket asks for, read strictly, and what its user may have of it.

Touches sessions, users and airlines in the database, read only. A user is read afresh each time, so that a logout, a
new password, a disabled account or a lost membership counts at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import constant_time_compare

from ifeportal.access import sees_every_airline
from ifeportal.accounts.second_factor import lack
from ifeportal.live.models import Change
from ifeportal.models import Airline, User

TOPICS = frozenset({"airline", "campaign", "tail", "load", "transfer"})
MESSAGE_LIMIT = 4096
NAME_LIMIT = 200

SIGNED_OUT = 4403
UNKNOWN = 4404


class BadMessage(ValueError):
    """What the browser sent is not of the protocol."""


class Refused(Exception):
    """The user may not have what the socket asks for; `code` is what the socket is closed with."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Watch:
    """What a page shows: an airline (or all the user may see), a tail, a campaign (or any), some topics.

    `rev` is the revision the page was made at; None: only what comes from now on. `acks`: the browser will
    acknowledge what it has taken, and gets no more before it has.
    """

    airline: str | None
    tail: str
    campaign: str
    topics: frozenset[str]
    rev: int | None
    acks: bool


@dataclass(frozen=True)
class Scope:
    """What one socket hears. `airlines` are ids; None: every airline there is or will be."""

    airlines: frozenset[int] | None
    tail: str
    campaign: str
    topics: frozenset[str]

    def covers(self, change: Change) -> bool:
        """Whether the change concerns this socket."""
        return (
            (self.airlines is None or change.airline_id in self.airlines)
            and change.topic in self.topics
            and (not self.tail or change.tail == self.tail)
            and (not self.campaign or change.campaign == self.campaign)
        )

    def lacks(self, earlier: Scope) -> bool:
        """Whether an airline of an earlier scope is no longer in this one."""
        if self.airlines is None:
            return False
        return earlier.airlines is None or bool(earlier.airlines - self.airlines)


def parse_message(text: str) -> Watch | int:
    """Read a browser's message: a Watch, or the revision it acknowledges. Raises BadMessage."""
    if len(text) > MESSAGE_LIMIT:
        raise BadMessage(f"A message may have at most {MESSAGE_LIMIT} characters.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage("A message must be JSON.") from error
    if not isinstance(message, dict):
        raise BadMessage("A message must be an object.")
    if "ack" in message:
        return _revision(message["ack"], "ack")
    if not isinstance(message.get("watch"), dict):
        raise BadMessage('A message must have "watch" (an object) or "ack".')
    return _watch(message["watch"], message)


def _watch(watch: Mapping[str, Any], message: Mapping[str, Any]) -> Watch:
    topics = watch.get("topics")
    if topics is not None and not (isinstance(topics, list) and all(topic in TOPICS for topic in map(str, topics))):
        raise BadMessage(f'"topics" must be a list of {", ".join(sorted(TOPICS))}.')
    rev = message.get("rev")
    return Watch(
        airline=_name(watch, "airline") or None,
        tail=_name(watch, "tail"),
        campaign=_name(watch, "campaign"),
        topics=frozenset(topics) if topics else TOPICS,
        rev=None if rev is None else _revision(rev, "rev"),
        acks=message.get("acks") is True,
    )


def _name(watch: Mapping[str, Any], key: str) -> str:
    name = watch.get(key) or ""
    if not isinstance(name, str) or len(name) > NAME_LIMIT:
        raise BadMessage(f'"{key}" must be a name of at most {NAME_LIMIT} characters, or null.')
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in name):  # no database can be asked for these
        raise BadMessage(f'"{key}" holds what no name can hold.')
    return name


def _revision(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise BadMessage(f'"{key}" must be a whole number of at least 0.')
    return value


def listener(session_key: str) -> User:
    """The user signed in with this session. Raises Refused when there is none, or not any more.

    Unlike django.contrib.auth.get_user it never writes: a rotated session key could not be told to the browser here.
    """
    session = _session(session_key)
    number = session.get(SESSION_KEY) if session_key else None
    user = User.objects.filter(pk=number, is_active=True).first() if number is not None else None
    if user is None:
        raise Refused(SIGNED_OUT, "Sign in to see live updates.")
    proof = session.get(HASH_SESSION_KEY, "")
    if not any(
        constant_time_compare(proof, valid)
        for valid in (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    ):
        raise Refused(SIGNED_OUT, "Sign in again to see live updates.")
    if missing := lack(user, session):
        raise Refused(SIGNED_OUT, missing.value)
    return user


def _session(session_key: str) -> SessionBase:
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    return store(session_key)


def scope_for(user: User, watch: Watch) -> Scope:
    """What this user gets of what was asked for. Raises Refused for an airline that is foreign or not there."""
    airlines = Airline.objects.visible_to(user)
    ids: frozenset[int] | None
    if watch.airline is not None:
        ids = frozenset(airlines.filter(name=watch.airline).values_list("pk", flat=True))
        if not ids:
            raise Refused(UNKNOWN, "There is no such airline.")
    else:
        ids = None if sees_every_airline(user) else frozenset(airlines.values_list("pk", flat=True))
    return Scope(airlines=ids, tail=watch.tail, campaign=watch.campaign, topics=watch.topics)
