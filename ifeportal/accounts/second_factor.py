"""Second factor: which users need one, who has one, and whether a session used it.

Reads memberships and authenticators. The middleware checks pages, admin and API; sockets check themselves. A token
records whether its session used a second factor, and is checked whenever it is used.
"""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Final

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Exists, OuterRef, Q, QuerySet

from ifeportal.models import User

FACTOR_TYPES: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


class SecondFactorGap(Enum):
    """The step that a user must complete first; the value is the sentence shown to them."""

    NONE_SET_UP = "Your role requires a second factor. Set one up to continue."
    NOT_USED = "You signed in without your second factor. Use it to continue."
    CREATED_WITHOUT = "Your role requires a second factor, and this token was created without one. Create a new token."


def second_factor_gap(user: User, session: SessionBase) -> SecondFactorGap | None:
    """Return the step that the user must complete first in this session; None if there is none."""
    if not is_required(user):
        return None
    if not authenticators_of(user).exists():
        return SecondFactorGap.NONE_SET_UP
    return None if was_used(user, session) else SecondFactorGap.NOT_USED


def token_gap(user: User, *, has_second_factor: bool) -> SecondFactorGap | None:
    """Return the step that the user must complete before a token works; None if there is none."""
    if not is_required(user):
        return None
    if not authenticators_of(user).exists():
        return SecondFactorGap.NONE_SET_UP
    return None if has_second_factor else SecondFactorGap.CREATED_WITHOUT


def is_required(user: User) -> bool:
    """Return whether SECOND_FACTOR_FOR lists staff and the user is staff, or lists one of the user's roles."""
    groups = settings.SECOND_FACTOR_FOR
    if "staff" in groups and (user.is_staff or user.is_superuser):
        return True
    roles = [group for group in groups if group != "staff"]
    return bool(roles) and user.memberships.filter(role__in=roles).exists()


def users_lacking_one() -> QuerySet[User]:
    """Return the users whom SECOND_FACTOR_FOR names and who have no second factor."""
    groups = settings.SECOND_FACTOR_FOR
    named = Q(memberships__role__in=[group for group in groups if group != "staff"])
    if "staff" in groups:
        named |= Q(is_staff=True) | Q(is_superuser=True)
    has_one = Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTOR_TYPES)
    return User.objects.filter(named, ~Exists(has_one)).distinct()


def authenticators_of(user: User) -> QuerySet[Authenticator]:
    """Return the user's second factors: apps and passkeys. Recovery codes only replace one and do not count."""
    rows: QuerySet[Authenticator] = Authenticator.objects.filter(user=user, type__in=FACTOR_TYPES)
    return rows


def was_used(user: User, session: SessionBase) -> bool:
    """Return whether the user authenticated with a second factor in this session."""
    records = get_authentication_records(SimpleNamespace(session=session), user)
    return any(record.get("method") == "mfa" for record in records)
