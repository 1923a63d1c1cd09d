"""The topics of the feed. The app that publishes a topic registers it in its `AppConfig.ready`.

Everything else in this package works for any topic: the registry decides which topics can be requested, which tables
pruning reads, and by what a change is scoped.
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

    A change names the airline and may name the tail and the campaign, if they are in `scoped_by`. Changes of a topic
    that is not scoped by airline are personal: each has a user, and reaches that user on every page.
    """

    name: str
    model: type[Model] | None = None
    scoped_by: frozenset[Place] = frozenset({"airline"})

    @property
    def has_airline(self) -> bool:
        return "airline" in self.scoped_by


_topics: dict[str, Topic] = {}


def register(*topics: Topic) -> None:
    """Add topics. Raises ImproperlyConfigured for an invalid name, and for one that has another definition."""
    for topic in topics:
        if not NAME.fullmatch(topic.name):
            raise ImproperlyConfigured(f"The topic name {topic.name!r} must have 1 to 20 characters of a to z and _.")
        if _topics.setdefault(topic.name, topic) != topic:
            raise ImproperlyConfigured(f"The topic {topic.name!r} is registered twice, with different definitions.")


def registered_topics() -> Mapping[str, Topic]:
    return MappingProxyType(_topics)


def topic_names() -> frozenset[str]:
    return frozenset(_topics)


def personal_topics() -> frozenset[str]:
    """Return the names of the topics whose changes belong to a user and to no airline."""
    return frozenset(name for name, topic in _topics.items() if not topic.has_airline)
