"""The second factor: for whom it is required, who has one, and whether this session used it.

Reads memberships and authenticators. The middleware checks pages, admin and API; sockets check themselves; a token was
created in a session that passed.
"""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Final

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import QuerySet

from ifeportal.models import User

FACTOR_TYPES: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


class SecondFactorGap(Enum):
    """What stands between a user and everything else; the value is the sentence for them."""

    NONE_SET_UP = "Your role needs a second factor to sign in with. Set one up first."
    NOT_USED = "This session began without your second factor. Use it now to go on."


def second_factor_gap(user: User, session: SessionBase) -> SecondFactorGap | None:
    """What the user must do before anything else in this session; None if nothing."""
    if not is_required(user):
        return None
    if not authenticators_of(user).exists():
        return SecondFactorGap.NONE_SET_UP
    return None if was_used(user, session) else SecondFactorGap.NOT_USED


def is_required(user: User) -> bool:
    """Whether a user of these roles must have a second factor, as SECOND_FACTOR_FOR says."""
    people = settings.SECOND_FACTOR_FOR
    if "staff" in people and (user.is_staff or user.is_superuser):
        return True
    roles = [word for word in people if word != "staff"]
    return bool(roles) and user.memberships.filter(role__in=roles).exists()


def authenticators_of(user: User) -> QuerySet[Authenticator]:
    """What the user can prove themselves with besides a password. Recovery codes only stand in for one."""
    found: QuerySet[Authenticator] = Authenticator.objects.filter(user=user, type__in=FACTOR_TYPES)
    return found


def was_used(user: User, session: SessionBase) -> bool:
    """Whether the user has shown a second factor in this session."""
    records = get_authentication_records(SimpleNamespace(session=session), user)
    return any(record.get("method") == "mfa" for record in records)
