"""What to do next, and what not: manifests, what is on disk, free space and the day in; ordered steps out.

Pure: no disk, no network, no clock. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Literal

from loader.contract import Item, Manifest

Action = Literal["keep", "verify", "fetch", "refuse", "leave"]


@dataclass(frozen=True, slots=True)
class Found:
    """What one content directory has of one item.

    `final`: "absent"; "whole": the wanted content; "unchecked": the right size, but nothing known about it; "other":
    something else, e.g. an older version. `beside`: the wanted content waits there. `part`: bytes begun.
    """

    final: str = "absent"
    beside: bool = False
    part: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A campaign as its manifest has it. `replacing`: an older version is whole on board and stays until this is."""

    campaign: str
    manifest: Manifest
    named: bool = False
    replacing: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One item and what is to be done: keep it, read it to verify it, fetch it, refuse it for want of space, or leave
    it as it failed. `store`: which content directory; `begun`: bytes there; `beside`: not under its final name yet.
    """

    campaign: str
    item: Item
    action: Action
    store: int
    begun: int = 0
    beside: bool = False
    code: str = ""
    reason: str = ""

    @property
    def missing(self) -> int:
        """Bytes still to be fetched."""
        return self.item.size - self.begun if self.action == "fetch" else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order they are to be done, and the campaigns passed over because their exhibition has ended."""

    steps: tuple[Step, ...]
    ended: tuple[str, ...]


def has_ended(manifest: Manifest, today: date) -> bool:
    """The last day of its exhibition is past."""
    return manifest.exhibition.ends is not None and manifest.exhibition.ends < today


def order(wanted: Iterable[Wanted], today: date) -> list[Wanted]:
    """Nearest start first; what says no day may be shown today. Ended ones only where they were named."""
    current = [one for one in wanted if one.named or not has_ended(one.manifest, today)]
    return sorted(current, key=lambda one: (one.manifest.exhibition.starts or today, one.campaign))


def order_items(items: Sequence[Item]) -> list[Item]:
    """Required ones first, then by priority, then as they are listed."""
    return sorted(items, key=lambda item: (not item.required, -item.priority))


def make_plan(
    wanted: Sequence[Wanted],
    find: Callable[[str, Item], Sequence[Found]],
    free: Sequence[int],
    today: date,
    barred: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Plan:
    """Decide everything before a byte moves.

    `find(campaign, item)`: what each content directory has of it. `free`: what each may still take, the reserve
    already taken off. `barred`: the code by (campaign, content) of what failed and would only fail again.
    """
    rooms = list(free)
    current = order(wanted, today)
    steps = [
        _step(one, item, find(one.campaign, item), rooms, barred.get((one.campaign, item.name), ""))
        for one in current
        for item in order_items(one.manifest.content)
    ]
    chosen = {one.campaign for one in current}
    return Plan(tuple(steps), tuple(one.campaign for one in wanted if one.campaign not in chosen))


def _step(one: Wanted, item: Item, found: Sequence[Found], rooms: list[int], barred: str) -> Step:
    for store, there in enumerate(found):
        if there.final == "whole":
            return Step(one.campaign, item, "keep", store, item.size)
    for store, there in enumerate(found):
        if there.beside:
            return Step(one.campaign, item, "keep", store, item.size, beside=True)
    store = _choose(found, rooms)
    begun = found[store].part
    if barred:
        return Step(one.campaign, item, "leave", store, begun, one.replacing, barred)
    if found[store].final == "unchecked" and not one.replacing:
        return Step(one.campaign, item, "verify", store)
    need = item.size - begun
    if need > max(0, rooms[store]):
        reason = f"{need} bytes are still to be fetched and {max(0, rooms[store])} bytes may be used"
        return Step(one.campaign, item, "refuse", store, begun, one.replacing, "NO_SPACE", reason)
    rooms[store] -= need
    return Step(one.campaign, item, "fetch", store, begun, one.replacing)


def _choose(found: Sequence[Found], rooms: Sequence[int]) -> int:
    """The directory that has something of it already, else the one with the most room."""

    def rank(store: int) -> tuple[bool, int, int]:
        there = found[store]
        return (there.final != "absent", there.part, rooms[store])

    return max(range(len(found)), key=rank)
