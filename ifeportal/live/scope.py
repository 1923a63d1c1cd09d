"""The part of the feed that one subscriber may receive. Reads airlines and memberships."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from ifeportal.access import Role, sees_every_airline
from ifeportal.live.models import Change
from ifeportal.live.protocol import UNKNOWN_AIRLINE, Rejected, SubscribeRequest
from ifeportal.live.registry import personal_topics
from ifeportal.models import Airline, User


@dataclass(frozen=True)
class Scope:
    """The changes one subscriber receives. `airlines` are ids; None: every airline, present and future.

    `roles` pairs each airline with each role the user has there (a manager is also operator and viewer); None: every
    role everywhere. With `object` only changes of that object, which is of the only topic.
    """

    airlines: frozenset[int] | None
    tail: str
    campaign: str
    topics: frozenset[str]
    user: int
    roles: frozenset[tuple[int, str]] | None
    object: int | None = None

    def covers(self, change: Change) -> bool:
        """Whether the change concerns this subscriber and is visible to its user."""
        return (
            self._concerns(change)
            and (not change.min_role or self._has_role(change.airline_id, change.min_role))
            and (change.user_id is None or change.user_id == self.user)
        )

    def has_lost(self, change: Change) -> bool:
        """Whether the object of a change that is not covered was covered before its audience was narrowed."""
        return (
            bool(change.retracted_from)
            and self._concerns(change)
            and self._has_role(change.airline_id, change.retracted_from)
        )

    def narrow(self, rows: QuerySet[Change]) -> QuerySet[Change]:
        """Return the rows that concern this subscriber. The caller must restrict them to what the user may see."""
        place = Q()
        if self.airlines is not None:
            place &= Q(airline__in=self.airlines)
        if self.tail:
            place &= Q(tail=self.tail)
        if self.campaign:
            place &= Q(campaign=self.campaign)
        if place and self.topics & personal_topics():
            place |= Q(airline=None)
        if self.object is not None:
            place &= Q(object=self.object)
        return rows.filter(place, topic__in=self.topics)

    def _concerns(self, change: Change) -> bool:
        """A change without an airline is personal and concerns its user on every page."""
        if change.topic not in self.topics or self.object not in (None, change.object):
            return False
        return change.airline_id is None or (
            (self.airlines is None or change.airline_id in self.airlines)
            and (not self.tail or change.tail == self.tail)
            and (not self.campaign or change.campaign == self.campaign)
        )

    def _has_role(self, airline: int | None, role: str) -> bool:
        return self.roles is None or (airline, role) in self.roles

    def is_narrower_than(self, earlier: Scope) -> bool:
        """Whether this scope has lost an airline of the earlier one."""
        if self.airlines is None:
            return False
        return earlier.airlines is None or bool(earlier.airlines - self.airlines)

    def has_lower_role_than(self, earlier: Scope) -> bool:
        """Whether this scope has lost a role of the earlier one."""
        if self.roles is None:
            return False
        return earlier.roles is None or bool(earlier.roles - self.roles)


def scope_for(user: User, watch: SubscribeRequest) -> Scope:
    """Return the part of the request this user may receive. Raises Rejected for an airline they cannot see."""
    topics = watch.topics
    if user.limited_to is not None:
        topics -= personal_topics()
    airlines: frozenset[int] | None = None
    roles: frozenset[tuple[int, str]] | None = None
    if watch.airline is not None or not sees_every_airline(user):
        highest_roles = _roles(user, watch.airline)
        airlines = frozenset(highest_roles)
        roles = frozenset((airline, role) for airline, highest in highest_roles.items() for role in _up_to(highest))
        if watch.airline is not None and not airlines:
            raise Rejected(UNKNOWN_AIRLINE, "There is no such airline.")
    return Scope(airlines, watch.tail, watch.campaign, topics, user.pk, roles)


def _roles(user: User, name: str | None) -> dict[int, str]:
    """Return the airlines (or the one of that name) the user may see, with their role at each."""
    airlines = Airline.objects.visible_to(user)
    if name is not None:
        airlines = airlines.filter(name=name)
    if user.is_staff:
        return dict.fromkeys(airlines.values_list("pk", flat=True), Role.MANAGER.value)
    return dict(airlines.values_list("pk", "memberships__role"))  # the membership that makes the airline visible


def _up_to(highest: str) -> list[str]:
    return Role.values[: Role.values.index(highest) + 1]
