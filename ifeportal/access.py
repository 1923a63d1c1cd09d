"""Access control: the airlines a user may see, and the role a user has there.

Every query set of ours inherits `ScopedQuerySet`; views, API, sockets and admin reach rows only through
`visible_to`. Staff see every airline, a member the airlines of their memberships, anyone else nothing. What one may
see but not change answers 403: `role_or_403`.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextChoices
from django.shortcuts import get_object_or_404

M = TypeVar("M", bound=Model)


class Role(TextChoices):
    """What a member may do at an airline; each may what the one before may, staff may everything.

    Operators acknowledge, say which tails are in service and set what the airline's pages go by; managers run its
    campaigns and read its audit log.
    """

    VIEWER = "viewer", "viewer"
    OPERATOR = "operator", "operator"
    MANAGER = "manager", "manager"


def sees_every_airline(user: AbstractUser | AnonymousUser) -> bool:
    """Whether the user is staff: sees every airline, also one that comes later. Not with a token for one airline."""
    return user.is_authenticated and user.is_active and user.is_staff and getattr(user, "limited_to", None) is None


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
        limited_to = getattr(user, "limited_to", None)
        rows = self if limited_to is None else self.filter(**{f"{path}pk": limited_to})
        return rows if user.is_staff else rows.filter(**{f"{path}memberships__user": user})

    def with_role(self, user: AbstractUser | AnonymousUser, role: Role) -> Self:
        """Of the rows this user may see, those of airlines where they have that role or a higher one."""
        rows = self.visible_to(user)
        if not user.is_authenticated or getattr(user, "reads_only", False):
            return rows.none()
        if user.is_staff:
            return rows
        path = f"{self.airline_path}__" if self.airline_path else ""
        return rows.filter(
            **{f"{path}memberships__user": user, f"{path}memberships__role__in": Role.values[Role.values.index(role) :]}
        )


def visible_or_404(rows: ScopedQuerySet[M], user: AbstractUser | AnonymousUser, **lookup: Any) -> M:
    """The one row the user asked for and may see; `Http404` alike for a foreign row and one that is not there."""
    return get_object_or_404(rows.visible_to(user), **lookup)


def role_or_403(rows: ScopedQuerySet[M], user: AbstractUser | AnonymousUser, role: Role, **lookup: Any) -> M:
    """The one row the user asked for and may change in that role.

    Raises Http404 for a row they may not see, PermissionDenied for one they may see but not change.
    """
    row = visible_or_404(rows, user, **lookup)
    if not rows.with_role(user, role).filter(pk=row.pk).exists():
        raise PermissionDenied(f"For this you need to be {role} of the airline.")
    return row
