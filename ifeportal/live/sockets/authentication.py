"""The user of a session, for sockets. Reads sessions and users, and never writes.

The user is read on every call, so a sign-out, a new password or a disabled account takes effect immediately.
"""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import constant_time_compare

from ifeportal.accounts.second_factor import second_factor_gap
from ifeportal.live.protocol import SIGNED_OUT, Rejected
from ifeportal.models import User


def user_of_session(session_key: str) -> User:
    """Return the user signed in with this session. Raises Rejected without one.

    Unlike django.contrib.auth.get_user this never writes: a socket cannot send the browser a rotated session key.
    """
    session = _load_session(session_key)
    number = session.get(SESSION_KEY) if session_key else None
    user = User.objects.filter(pk=number, is_active=True).first() if number is not None else None
    if user is None:
        raise Rejected(SIGNED_OUT, "Sign in to see live updates.")
    session_hash = session.get(HASH_SESSION_KEY, "")
    if not any(
        constant_time_compare(session_hash, valid)
        for valid in (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    ):
        raise Rejected(SIGNED_OUT, "Sign in again to see live updates.")
    if missing := second_factor_gap(user, session):
        raise Rejected(SIGNED_OUT, missing.value)
    return user


def _load_session(session_key: str) -> SessionBase:
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    return store(session_key)
