"""Types of a plan: target campaigns, disk space, steps, removals. Pure; sizes in bytes."""

from __future__ import annotations

import math
from dataclasses import field
from datetime import date, datetime
from typing import Literal

from loader.clock import best_time, trusted_time, why_untrusted
from loader.contract.manifest import Item, Manifest
from loader.errors import Code
from loader.frozen import frozen
from loader.storage.inventory import ItemKey

Action = Literal["keep", "link", "verify", "fetch", "refuse", "blocked"]


@frozen
class TargetCampaign:
    """A campaign and its manifest. `named`: with --campaign. `replacing`: an older version is complete on disk and
    stays there until the new one is complete.
    """

    campaign: str
    manifest: Manifest
    named: bool = False
    replacing: bool = False


@frozen
class DiskSpace:
    """Free bytes of one content directory, without the reserve. Directories on one device share them.

    `reserve`: bytes that stay free. `lacks_inodes`: the file system can take no more files.
    """

    free: int
    device: int
    reserve: int = 0
    lacks_inodes: bool = False


@frozen
class PlanningContext:
    """Time and rate at planning.

    `now`: local clock (aware). `seconds_left`: until the window closes. `rate`: bytes a second received lately.
    `store`: the store's clock. None if unknown.
    """

    now: datetime
    seconds_left: float | None = None
    rate: int | None = None
    store: datetime | None = None

    @property
    def trusted(self) -> datetime | None:
        """The time for decisions to remove content; None while nothing may be removed by date."""
        return trusted_time(self.now, self.store)

    @property
    def why_untrusted(self) -> str:
        """Why there is no trusted time; empty if there is."""
        return why_untrusted(self.now, self.store)

    @property
    def clocks_differ(self) -> bool:
        """The local clock and the store's contradict each other: nothing is removed."""
        return self.store is not None and self.trusted is None

    @property
    def today(self) -> date:
        """The date for the order of what is loaded."""
        return best_time(self.now, self.store).date()

    @property
    def earliest(self) -> datetime:
        """The time for orders with `not_before`: they wait until every clock says that they are due."""
        return self.trusted or min(clock for clock in (self.now, self.store) if clock is not None)

    @property
    def days(self) -> tuple[date, ...]:
        """The current date by each clock, the latest first."""
        return tuple(sorted({clock.date() for clock in (self.now, self.store) if clock is not None}, reverse=True))


@frozen
class Removal:
    """Content to purge: items by name, or the complete campaign (None)."""

    campaign: str
    content: tuple[str, ...] | None
    reason: str


@frozen
class PlanStep:
    """One item and its action.

    Actions: keep it, link it to the same content, verify the file on disk, fetch it, refuse it for lack of space, or
    leave it blocked after a failure. `store`: index of the content directory. `bytes_done`: bytes there. `staged`: not
    under its final name yet. `request_rank`: position among the local requests; items without one come after all
    requested items. Steps are equal if they do the same thing, regardless of progress.
    """

    campaign: str
    item: Item
    action: Action
    store: int
    bytes_done: int = field(default=0, compare=False)
    staged: bool = False
    code: Code | None = field(default=None, compare=False)
    reason: str = field(default="", compare=False)
    priority: int = field(default=0, compare=False)
    deadline: datetime | None = field(default=None, compare=False)
    request_rank: int = field(default=0, compare=False)

    @property
    def key(self) -> ItemKey:
        return ItemKey(self.campaign, self.item.name)

    @property
    def urgency(self) -> tuple[int, int, float]:
        """Sort key: a step with a smaller urgency comes first, and preempts a running one."""
        return self.request_rank, -self.priority, self.deadline.timestamp() if self.deadline else math.inf

    @property
    def missing(self) -> int:
        return self.item.size - self.bytes_done if self.action == "fetch" else 0


@frozen
class Plan:
    """Steps in their order, and removals. Link steps must run before the removals, which may purge their sources.

    `ended`: campaigns skipped because their exhibition has ended. `deferred`: (campaign, time) that the queue does not
    allow yet; `next_change`: the first of these times that is in the future. `refused_removals`: (campaign, reason).
    """

    steps: tuple[PlanStep, ...] = ()
    ended: tuple[str, ...] = ()
    removals: tuple[Removal, ...] = ()
    deferred: tuple[tuple[str, datetime], ...] = ()
    refused_removals: tuple[tuple[str, str], ...] = ()
    next_change: datetime | None = None
