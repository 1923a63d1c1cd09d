"""Who may see what: the one place that turns a user into the rows of the airlines they belong to.

Every query set of ours inherits `ScopedQuerySet`; views, API, sockets and admin reach rows only through
`visible_to`. Staff see every airline, a member the airlines of their memberships, anyone else nothing.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Model, QuerySet
from django.shortcuts import get_object_or_404

M = TypeVar("M", bound=Model)


def sees_every_airline(user: AbstractUser | AnonymousUser) -> bool:
    """Whether the user is staff: sees every airline, also one that comes later."""
    return user.is_authenticated and user.is_active and user.is_staff


class ScopedQuerySet(QuerySet[M]):
    """Rows that belong to an airline; `airline_path` names the way from the row to it ("" for Airline itself)."""

    airline_path = "airline"

    def visible_to(self, user: AbstractUser | AnonymousUser) -> Self:
        """The rows this user may see; none for an anonymous or disabled user."""
        if not (user.is_authenticated and user.is_active):
            return self.none()
        if sees_every_airline(user):
            return self.all()
        path = f"{self.airline_path}__" if self.airline_path else ""
        return self.filter(**{f"{path}memberships__user": user})


def visible_or_404(rows: ScopedQuerySet[M], user: AbstractUser | AnonymousUser, **lookup: Any) -> M:
    """The one row the user asked for and may see; `Http404` alike for a foreign row and one that is not there."""
    return get_object_or_404(rows.visible_to(user), **lookup)
