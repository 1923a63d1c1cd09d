"""The part of the feed that one subscriber may receive. Reads airlines and memberships."""

from __future__ import annotations

from dataclasses import dataclass

from ifeportal.access import sees_every_airline
from ifeportal.live.models import Change
from ifeportal.live.protocol import UNKNOWN_AIRLINE, Rejected, SubscribeRequest
from ifeportal.models import Airline, User


@dataclass(frozen=True)
class Scope:
    """What one socket hears. `airlines` are ids; None: every airline there is or will be."""

    airlines: frozenset[int] | None
    tail: str
    campaign: str
    topics: frozenset[str]

    def covers(self, change: Change) -> bool:
        """Whether the change concerns this socket."""
        return (
            (self.airlines is None or change.airline_id in self.airlines)
            and change.topic in self.topics
            and (not self.tail or change.tail == self.tail)
            and (not self.campaign or change.campaign == self.campaign)
        )

    def is_narrower_than(self, earlier: Scope) -> bool:
        """Whether an airline of an earlier scope is no longer in this one."""
        if self.airlines is None:
            return False
        return earlier.airlines is None or bool(earlier.airlines - self.airlines)


def scope_for(user: User, watch: SubscribeRequest) -> Scope:
    """What this user gets of what was asked for. Raises Refused for an airline that is foreign or not there."""
    airlines = Airline.objects.visible_to(user)
    ids: frozenset[int] | None
    if watch.airline is not None:
        ids = frozenset(airlines.filter(name=watch.airline).values_list("pk", flat=True))
        if not ids:
            raise Rejected(UNKNOWN_AIRLINE, "There is no such airline.")
    else:
        ids = None if sees_every_airline(user) else frozenset(airlines.values_list("pk", flat=True))
    return Scope(airlines=ids, tail=watch.tail, campaign=watch.campaign, topics=watch.topics)
