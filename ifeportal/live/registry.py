"""The topics of the feed. The app that publishes a topic registers it in its `AppConfig.ready`.

Everything else in this package works for any topic: what may be asked for, which tables pruning looks into, and by
what a change is scoped follow from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

NAME: Final = re.compile(r"[a-z][a-z_]{0,19}")  # part of keys and attributes in pages
Place = Literal["airline", "tail", "campaign"]


@dataclass(frozen=True)
class Topic:
    """One kind of object. `model` is the table of the objects: pruning publishes the deletion of rows that vanished.

    A change names the airline and may name the tail and the campaign, as far as `scoped_by` holds them. Changes of a
    topic that isn't scoped by airline are personal: each has a user, and reaches that user on every page.
    """

    name: str
    model: type[Model] | None = None
    scoped_by: frozenset[Place] = frozenset({"airline"})

    @property
    def has_airline(self) -> bool:
        """Whether its changes belong to airlines."""
        return "airline" in self.scoped_by


_topics: dict[str, Topic] = {}


def register(*topics: Topic) -> None:
    """Add topics. Raises ImproperlyConfigured for a bad name, and for one that is taken by another definition."""
    for topic in topics:
        if not NAME.fullmatch(topic.name):
            raise ImproperlyConfigured(f"A topic can't be named {topic.name!r}: at most 20 of a to z and _.")
        if _topics.setdefault(topic.name, topic) != topic:
            raise ImproperlyConfigured(f"The topic {topic.name!r} is registered twice, with different definitions.")


def registered_topics() -> Mapping[str, Topic]:
    """All topics by name."""
    return MappingProxyType(_topics)


def topic_names() -> frozenset[str]:
    """The names of all topics."""
    return frozenset(_topics)


def personal_topics() -> frozenset[str]:
    """The names of those whose changes belong to a user and to no airline."""
    return frozenset(name for name, topic in _topics.items() if not topic.has_airline)
