"""Types of a plan: target campaigns, disk space, steps, removals. Pure; sizes in bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from loader.clock import trusted_time, why_untrusted
from loader.contract.manifest import Item, Manifest
from loader.errors import Code
from loader.storage.inventory import ItemKey

Action = Literal["keep", "link", "verify", "fetch", "refuse", "blocked"]


@dataclass(frozen=True, slots=True)
class TargetCampaign:
    """A campaign as its manifest has it. `named`: with --campaign. `replacing`: an older version is whole on board and
    stays until this is.
    """

    campaign: str
    manifest: Manifest
    named: bool = False
    replacing: bool = False


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """What one content directory may still take, the reserve taken off. Those of one device share one room."""

    free: int
    device: int


@dataclass(frozen=True, slots=True)
class PlanningContext:
    """The local clock (aware), the seconds until the window closes, the bytes a second seen lately, and the store's
    clock; None where not known. The local clock says what is loaded, but removes nothing by itself.
    """

    now: datetime
    seconds_left: float | None = None
    rate: int | None = None
    store: datetime | None = None

    @property
    def trusted(self) -> datetime | None:
        """The time to remove content by; None while nothing may be removed by date."""
        return trusted_time(self.now, self.store)

    @property
    def why_untrusted(self) -> str:
        """Why there is no trusted time; empty if there is."""
        return why_untrusted(self.now, self.store)

    @property
    def days(self) -> tuple[date, ...]:
        """Today by each clock, the latest first."""
        return tuple(sorted({clock.date() for clock in (self.now, self.store) if clock is not None}, reverse=True))


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be purged: items by name, or all of the campaign."""

    campaign: str
    content: tuple[str, ...] | None
    reason: str


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One item and what is to be done: keep it, link it to the same content, read it to verify it, fetch it, refuse it
    for want of space, or leave it as it failed. `store`: which content directory; `bytes_done`: bytes there; `staged`:
    not under its final name yet. `request_rank`: its place among what somebody aboard wants first, after all of that if
    nobody does. Steps are equal if they do the same thing, however far it has come.
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
        """The campaign and the item."""
        return ItemKey(self.campaign, self.item.name)

    @property
    def urgency(self) -> tuple[int, int, float]:
        """Smaller goes first, even in the middle of what is larger."""
        return self.request_rank, -self.priority, self.deadline.timestamp() if self.deadline else math.inf

    @property
    def missing(self) -> int:
        """Bytes still to be fetched."""
        return self.item.size - self.bytes_done if self.action == "fetch" else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. Where there are removals, the steps that link go before them (what is purged may be their
    source); all steps are in their order.

    `ended`: passed over because their exhibition has ended. `partial_campaigns`: campaigns of which only some items are
    steps; they are not whole when these are done. `deferred`: (campaign, when) of what the queue does not allow yet,
    and `next_change` the first of these times that is still to come. `refused_removals`: (campaign, why).
    """

    steps: tuple[PlanStep, ...] = ()
    ended: tuple[str, ...] = ()
    removals: tuple[Removal, ...] = ()
    deferred: tuple[tuple[str, datetime], ...] = ()
    refused_removals: tuple[tuple[str, str], ...] = ()
    next_change: datetime | None = None
    partial_campaigns: frozenset[str] = frozenset()
