"""Rights of a user when a file was written, to compare with their rights when they download it."""

from __future__ import annotations

from typing import Any

from ifeportal.access import Role, sees_every_airline
from ifeportal.models import Airline, User


def access_of(user: User) -> dict[str, Any]:
    """Return the user's access for a JSON field: everything (staff), or the role at each airline by its id."""
    if sees_every_airline(user):
        return {"all": True}
    roles = Airline.objects.visible_to(user).values_list("pk", "memberships__role")
    return {"roles": {str(airline): role for airline, role in roles}}


def still_has_access(then: dict[str, Any], user: User) -> bool:
    """Return whether the user still has every right that the file was written with."""
    now = access_of(user)
    if now.get("all") or then.get("all"):
        return bool(now.get("all"))
    roles: dict[str, str] = now["roles"]
    return all(airline in roles and _rank(roles[airline]) >= _rank(role) for airline, role in then["roles"].items())


def _rank(role: str) -> int:
    return Role.values.index(role)
