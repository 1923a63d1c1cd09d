"""End the sessions and tokens of users, wherever they are used. Touches users, sessions and tokens."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.models import Session
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from ifeportal.models import Token, User


def end_sessions(user: User) -> int:
    """End all sessions of the user, also those that are not listed. Return how many were listed.

    Call it in a transaction.
    """
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    listed = UserSession.objects.filter(user=user)
    keys = list(listed.values_list("session_key", flat=True))
    count, _ = Session.objects.filter(session_key__in=keys).delete()
    listed.delete()
    return count


def renew_key(request: HttpRequest) -> None:
    """Give the session of the request a new key; the old one is invalid."""
    UserSession.objects.filter(session_key=request.session.session_key).delete()
    request.session.cycle_key()
    UserSession.objects.create_from_request(request)


def end_other_sessions(request: HttpRequest) -> None:
    """End all sessions of the request's user except the current one, which gets a new key. Call it in a transaction."""
    user = request.user
    assert isinstance(user, User)
    end_sessions(user)
    user.refresh_from_db(fields=["session_epoch"])
    update_session_auth_hash(request, user)
    UserSession.objects.create_from_request(request)


def suspend_tokens(user: User) -> None:
    """Invalidate all tokens that the user has now, because a credential of the user changed."""
    User.objects.filter(pk=user.pk).update(tokens_valid_from=timezone.now())


def revoke_tokens(user: User) -> int:
    """Delete all tokens of the user, and return how many there were."""
    count, _ = Token.objects.owned_by(user).delete()
    return count
