"""Access control: the airlines that a user may see, and the user's role there.

All our query sets inherit `ScopedQuerySet`. Views, API, sockets and admin load rows only through `visible_to`. Staff
see all airlines, members the airlines of their memberships, other users nothing. An object that the user may see but
not change is a 403 (`role_or_403`); an object that they may not see is a 404.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextChoices
from django.shortcuts import get_object_or_404

M = TypeVar("M", bound=Model)


class Role(TextChoices):
    """Role of a member at an airline. Each role includes the ones before it; staff have all of them.

    Viewers read. Operators acknowledge loads, set the service status of tails and the thresholds of the airline.
    Managers run its campaigns and read its audit log.
    """

    VIEWER = "viewer", "viewer"
    OPERATOR = "operator", "operator"
    MANAGER = "manager", "manager"


def sees_every_airline(user: AbstractUser | AnonymousUser) -> bool:
    """Return whether the user sees all airlines, present and future: staff, unless by a token for one airline."""
    return user.is_authenticated and user.is_active and user.is_staff and getattr(user, "limited_to", None) is None


class ScopedQuerySet(QuerySet[M]):
    """Rows that belong to an airline. `airline_path` is the lookup from the row to it ("" for Airline itself)."""

    airline_path = "airline"

    def visible_to(self, user: AbstractUser | AnonymousUser) -> Self:
        """Return the rows that the user may see; none for an anonymous or disabled user."""
        if not (user.is_authenticated and user.is_active):
            return self.none()
        if sees_every_airline(user):
            return self.all()
        path = f"{self.airline_path}__" if self.airline_path else ""
        limited_to = getattr(user, "limited_to", None)
        rows = self if limited_to is None else self.filter(**{f"{path}pk": limited_to})
        return rows if user.is_staff else rows.filter(**{f"{path}memberships__user": user})

    def with_role(self, user: AbstractUser | AnonymousUser, role: Role) -> Self:
        """Return the visible rows of airlines where the user has this role or a higher one."""
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
    """Return the visible row that matches the lookup. Raises Http404, also if the row exists but is not visible."""
    return get_object_or_404(rows.visible_to(user), **lookup)


def role_or_403(rows: ScopedQuerySet[M], user: AbstractUser | AnonymousUser, role: Role, **lookup: Any) -> M:
    """Return the row that matches the lookup, if the user has the role at its airline.

    Raises Http404 for a row that the user may not see, PermissionDenied if they lack the role.
    """
    row = visible_or_404(rows, user, **lookup)
    if not rows.with_role(user, role).filter(pk=row.pk).exists():
        raise PermissionDenied(f"This needs the {role} role for the airline.")
    return row
