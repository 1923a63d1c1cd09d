"""Where a user may upload to: libraries and drafts of the airlines that the user manages. Reads the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.contrib.auth.models import AbstractUser, AnonymousUser

from campaigns.models import Draft
from ifeportal.access import Role
from ifeportal.models import Airline
from loader.frozen import frozen

DRAFTS_NAMED: Final = 300  # the newest; the page of an older draft uploads to it
AIRLINES_NAMED: Final = 200


@frozen
class Destination:
    """A place for uploads. `campaign` is "" for the library. `value` is its word in forms."""

    airline: str
    campaign: str
    label: str

    @property
    def value(self) -> str:
        return f"{self.airline}/{self.campaign}"


def destinations(user: AbstractUser | AnonymousUser) -> Sequence[tuple[str, Sequence[Destination]]]:
    """Return the airlines that the user manages by name, each with its library and its newest drafts."""
    airlines = Airline.objects.with_role(user, Role.MANAGER).order_by("name")[:AIRLINES_NAMED]
    found = {airline.pk: (str(airline), [Destination(airline.name, "", "Library")]) for airline in airlines}
    drafts = Draft.objects.filter(airline__in=list(found)).order_by("-created_at", "-pk")
    for airline, name in drafts.values_list("airline", "name")[:DRAFTS_NAMED]:
        _, places = found[airline]
        places.append(Destination(places[0].airline, name, name))
    return list(found.values())
