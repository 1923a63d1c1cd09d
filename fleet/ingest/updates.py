"""Types of the updates of tails and of the current manifests, as `fleet.ingest.apply` takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from campaigns.models import Campaign
from fleet.models import Load
from fleet.reconcile.problems import Problem
from fleet.state.observations import ErrorObservation, HeartbeatObservation, ObjectDeleted, ProgressObservation

ObjectRef = tuple[Literal["progress", "error", "campaign_error", "heartbeat"], str, str]  # kind, campaign, content
SupersededObjects = set[tuple[int, ObjectRef]]  # by the id of their tail: a newer version of them is known


@dataclass(slots=True)
class LoadUpdate:
    """New observations of one load: by content, and of its `campaign.json.error`.

    An empty update has the load compared with its manifest, which may be another one by now.
    """

    progress: dict[str, ProgressObservation] = field(default_factory=dict)
    errors: dict[str, ErrorObservation] = field(default_factory=dict)
    campaign_error: ErrorObservation | None = None

    def without_deletions(self) -> LoadUpdate:
        """Return the update of an archived load: its objects were deleted on purpose."""
        return LoadUpdate(
            {name: seen for name, seen in self.progress.items() if not isinstance(seen, ObjectDeleted)},
            {name: seen for name, seen in self.errors.items() if not isinstance(seen, ObjectDeleted)},
            None if isinstance(self.campaign_error, ObjectDeleted) else self.campaign_error,
        )


@dataclass(slots=True)
class TailUpdate:
    """New observations of one tail; `loads` by the name of their campaign.

    `heard_at` is the newest LastModified of the objects read. `problems` are those found in the bytes of its objects.
    """

    loads: dict[str, LoadUpdate] = field(default_factory=dict)
    heartbeat: HeartbeatObservation | None = None
    heard_at: datetime | None = None
    problems: list[Problem] = field(default_factory=list)

    def load(self, campaign: str) -> LoadUpdate:
        """Return the update of the tail's load of this campaign, to be added to."""
        return self.loads.setdefault(campaign, LoadUpdate())


@dataclass(frozen=True, slots=True)
class Catalog:
    """The campaigns needed by name, and the listed items of each (name to bytes)."""

    campaigns: Mapping[str, Campaign]
    sizes: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """A load to be written: its row, the listed items of its campaign (name to bytes), and its update.

    `fresh`: it has no transfers yet. `stale`: they were last compared with another manifest.
    """

    row: Load
    sizes: Mapping[str, int]
    update: LoadUpdate
    fresh: bool = False
    stale: bool = False

    @property
    def archived(self) -> bool:
        """Whether its objects were packed into one. It stays archived until an object reports something new."""
        return self.row.archived_at is not None
