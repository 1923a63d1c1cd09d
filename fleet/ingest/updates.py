"""Types of the updates of tails and of the current manifests, as `fleet.ingest.apply` takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from campaigns.models import Campaign
from fleet.models import Load
from fleet.reconcile.problems import Problem
from fleet.state.observations import ErrorObserved, HeartbeatObserved, ObjectDeleted, ObjectRewritten, ProgressObserved

ContentRef = tuple[str, str]  # campaign, content
ObjectRef = tuple[Literal["progress", "error", "campaign_error", "heartbeat"], str, str]
SupersededObjects = set[
    tuple[int, ObjectRef]
]  # the id of a tail, and an object of it of which a newer version is known


@dataclass(slots=True)
class TailUpdate:
    """What is new of one tail. Items are (campaign, content); `dirty` are campaigns whose manifest is another now,
    `problems` what the bytes of its objects said that could not be understood."""

    progress: dict[ContentRef, ProgressObserved | ObjectRewritten | ObjectDeleted] = field(default_factory=dict)
    errors: dict[ContentRef, ErrorObserved | ObjectRewritten | ObjectDeleted] = field(default_factory=dict)
    campaign_errors: dict[str, ErrorObserved | ObjectRewritten | ObjectDeleted] = field(default_factory=dict)
    heartbeat: HeartbeatObserved | ObjectRewritten | ObjectDeleted | None = None
    heard_at: datetime | None = None
    dirty: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    @property
    def campaigns(self) -> set[str]:
        """Every campaign of which there is news."""
        named = {campaign for campaign, _ in (*self.progress, *self.errors)}
        return named | self.campaign_errors.keys() | self.dirty


@dataclass(frozen=True, slots=True)
class Catalog:
    """What should fly, as far as it is needed: campaigns by name, and the listed items of each (name to bytes)."""

    campaigns: Mapping[str, Campaign]
    sizes: Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class LoadUpdate:
    """A load that is being worked on, and what is new of it, by content.

    `fresh`: it has no transfers yet. `stale`: they were last held against another manifest.
    """

    row: Load
    sizes: Mapping[str, int]
    fresh: bool = False
    stale: bool = False
    progress: dict[str, ProgressObserved | ObjectRewritten | ObjectDeleted] = field(default_factory=dict)
    errors: dict[str, ErrorObserved | ObjectRewritten | ObjectDeleted] = field(default_factory=dict)
    campaign_error: ErrorObserved | ObjectRewritten | ObjectDeleted | None = None

    @property
    def archived(self) -> bool:
        """Its objects were packed into one. It rests until an object says something new."""
        return self.row.archived_at is not None

    def is_affected_by(self, observation: object) -> bool:
        """Whether what was seen can change it. That the objects of an archived load are gone is no news."""
        return not (self.archived and isinstance(observation, ObjectDeleted))
