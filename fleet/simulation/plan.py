"""Plan of a simulated fleet: numbers of airlines, tails and items, their names, and which of them fail. Pure.

`fleet.simulation.traffic` generates what its loaders write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, NamedTuple

from loader.contract.item_reports import build_progress
from loader.contract.keys import manifest_key, progress_key
from loader.contract.manifest import Item, Manifest, build_manifest

LETTERS: Final = 26


class PlannedWrite(NamedTuple):
    """One write, `at` seconds after the start; `body` is None if the object is deleted."""

    at: float
    key: str
    body: bytes | None


@dataclass(frozen=True)
class FleetPlan:
    """Everything that determines the traffic.

    `tails` and `items` are per airline, `rate` is in writes a second of the complete fleet, `size` is the mean item
    size in bytes. The traffic ends after `seconds`, or when every tail has every item. The shares (0 to 1) are of the
    tails: at one item a tail fails and finally recovers, is silent for `pause` seconds, or restarts. A foreign loader
    writes any number of bytes, errors without a code, and no heartbeat. `begins` only appears in heartbeats.

    Raises:
        ValueError: with a sentence, if the values are impossible.
    """

    seed: int = 1
    airlines: int = 1
    tails: int = 10
    items: int = 20
    rate: float = 10.0
    seconds: float | None = None
    size: int = 700_000_000
    campaign: str = "2026-12"
    failing: float = 0.01
    stalling: float = 0.01
    restarting: float = 0.005
    foreign: float = 0.0
    pause: float = 900.0
    prefix: str = "SIM"
    begins: datetime = field(default=datetime(2026, 12, 1, tzinfo=UTC))

    def __post_init__(self) -> None:
        if min(self.airlines, self.tails, self.items, self.size) < 1 or self.rate <= 0 or self.pause <= 0:
            raise ValueError("airlines, tails, items, size, rate and pause must be greater than 0")
        if self.airlines > 999 or self.tails > LETTERS**3 or self.items > 10_000:
            raise ValueError(f"at most 999 airlines, {LETTERS**3:,} tails per airline and 10,000 items are possible")
        shares = self.failing, self.stalling, self.restarting
        if min(*shares, self.foreign) < 0 or sum(shares) > 1 or self.foreign > 1:
            raise ValueError(
                "shares must be 0% to 100%; those of failing, stalling and restarting together at most 100%"
            )
        manifest_key(self.airline(0), self.campaign)

    def airline(self, number: int) -> str:
        """Return the name of an airline; the first is `SIM001`."""
        return f"{self.prefix}{number + 1:03d}"

    def tail(self, airline: int, number: int) -> str:
        """Return the registration of a tail; the first is `S1-AAA`."""
        rest, last = divmod(number, LETTERS)
        first, middle = divmod(rest, LETTERS)
        return f"S{airline + 1}-" + "".join(chr(ord("A") + letter) for letter in (first, middle, last))

    def item(self, number: int) -> str:
        """Return the name of an item; the first is `item-001`."""
        return f"item-{number + 1:03d}"

    def progress(self, airline: int, tail: int, item: int) -> str:
        """Return the key of the progress of an item on a tail."""
        return progress_key(self.airline(airline), self.tail(airline, tail), self.campaign, self.item(item))

    def manifest(self, airline: int) -> bytes:
        """Return the campaign.json of an airline."""
        items = tuple(Item(self.item(number), size) for number, size in enumerate(self.sizes))
        title = f"Simulated {self.campaign}"
        return build_manifest(Manifest(items, airline=self.airline(airline), campaign=self.campaign, title=title))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The size of each item in bytes, 0.5 to 1.5 times `size`; the same for every airline."""
        draw = random.Random(f"sizes of {self.seed}")  # noqa: S311
        return tuple(max(round(self.size * (0.5 + draw.random())), 1) for _ in range(self.items))


def manifests(plan: FleetPlan) -> Iterator[PlannedWrite]:
    """Yield the writes to the media bucket."""
    for number in range(plan.airlines):
        yield PlannedWrite(0.0, manifest_key(plan.airline(number), plan.campaign), plan.manifest(number))


def initial_reports(plan: FleetPlan) -> Iterator[PlannedWrite]:
    """Yield the initial writes to the status bucket: progress 0 for every item of every tail."""
    for airline in range(plan.airlines):
        for tail in range(plan.tails):
            for item in range(plan.items):
                yield PlannedWrite(0.0, plan.progress(airline, tail, item), build_progress(0))
