"""Ranks the wanted items: by the transfer queue, or without one by exhibition dates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from loader.contract.manifest import Item, Manifest
from loader.contract.transfer_queue import QueueEntry, TransferQueue
from loader.planning.model import PlanningContext, TargetCampaign

REQUESTED_REASON: Final = "it is one of the campaigns this loader was told to load"
NEVER: Final = datetime.max.replace(tzinfo=UTC)
RequestedItems = Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One item that is wanted now. `rank`: of the entry (or exhibition) that wants it; smaller comes first."""

    target: TargetCampaign
    item: Item
    position: int
    rank: tuple[object, ...]
    priority: int = 0
    deadline: datetime | None = None


@dataclass
class RankedItems:
    """What the queue makes of the campaigns. `purge`: the items it wants gone, by campaign; None is all of it.

    `unread`: campaigns it wants loaded, but whose manifest is not to be had now. `doubted`: campaigns whose removal is
    due by the local clock alone.
    """

    items: list[RankedItem] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    purge: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    deferred: list[tuple[str, datetime]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _RankedEntry:
    """An entry, its place in the order of all, and its names ready to be looked up."""

    entry: QueueEntry
    rank: tuple[int, datetime, int]
    names: frozenset[str] | None

    def lists(self, content: str) -> bool:
        return self.names is None or content in self.names


def has_ended(manifest: Manifest, today: date) -> bool:
    """The last day of its exhibition is past."""
    return manifest.exhibition.ends is not None and manifest.exhibition.ends < today


def rank_items(targets: Sequence[TargetCampaign], queue: TransferQueue | None, moment: PlanningContext) -> RankedItems:
    """Everything that is wanted now, not yet in order among itself but by `RankedItem.rank`."""
    today = moment.now.date()
    if queue is None or queue.entries is None:
        return _without_queue(targets, today)
    ranking = RankedItems()
    lines = _rank_entries(queue.entries)
    ranking.deferred = _deferred(lines, moment)
    ranking.doubted = {line.entry.campaign for line in lines if _is_doubted(line.entry, moment)}
    by_campaign: dict[str, list[_RankedEntry]] = {}
    for line in lines:
        # What is not to be purged yet says nothing yet; what is not to be loaded yet holds its items back.
        if line.entry.action == "load" or not _is_deferred(line.entry, moment):
            by_campaign.setdefault(line.entry.campaign, []).append(line)
    for one in targets:
        _rank_campaign(one, by_campaign.pop(one.campaign, []), moment, ranking)
    for campaign, rest in by_campaign.items():
        _purge_without_manifest(campaign, rest, ranking)
    ranking.unread = {campaign for campaign, rest in by_campaign.items() if any(_loads(line) for line in rest)}
    return ranking


def _without_queue(wanted: Sequence[TargetCampaign], today: date) -> RankedItems:
    ranking = RankedItems()
    for one in wanted:
        if has_ended(one.manifest, today) and not one.named:
            ranking.ended.append(one.campaign)
        else:
            rank = (0, NEVER, 0, *_nearest_start(one, today))
            ranking.items += [RankedItem(one, item, place, rank) for place, item in enumerate(one.manifest.content)]
    return ranking


def _nearest_start(one: TargetCampaign, today: date) -> tuple[date, str]:
    """Nearest start first; what says no day may be shown today."""
    return one.manifest.exhibition.starts or today, one.campaign


def _rank_entries(entries: Iterable[QueueEntry]) -> list[_RankedEntry]:
    """Higher priority first, then the earlier deadline, then as they stand in the queue."""
    lines = [
        _RankedEntry(
            entry,
            (-entry.priority, entry.deadline or NEVER, place),
            None if entry.content is None else frozenset(entry.content),
        )
        for place, entry in enumerate(entries)
        if entry.action in ("load", "purge")
    ]
    return sorted(lines, key=lambda line: line.rank)


def _loads(line: _RankedEntry) -> bool:
    return line.entry.action == "load"


def _is_deferred(entry: QueueEntry, moment: PlanningContext) -> bool:
    """Whether it has to wait: a load for the local clock, a removal for trusted time."""
    if entry.not_before is None:
        return False
    now = moment.trusted if entry.action == "purge" else moment.now
    return now is None or entry.not_before > now


def _is_doubted(entry: QueueEntry, moment: PlanningContext) -> bool:
    """Whether it waits only because no time can be trusted."""
    due = entry.not_before is not None and entry.not_before <= moment.now
    return due and moment.trusted is None and entry.action == "purge"


def _deferred(lines: Iterable[_RankedEntry], moment: PlanningContext) -> list[tuple[str, datetime]]:
    held = {
        (entry.campaign, entry.not_before)
        for entry in (line.entry for line in lines)
        if entry.not_before is not None and _is_deferred(entry, moment)
    }
    return sorted(held, key=lambda one: (one[1], one[0]))


def _rank_campaign(
    one: TargetCampaign, lines: Sequence[_RankedEntry], moment: PlanningContext, ranking: RankedItems
) -> None:
    """For each item of a campaign the first entry that lists it decides."""
    gone: list[str] = []
    refused = False
    for place, item in enumerate(one.manifest.content):
        line = next((line for line in lines if line.lists(item.name)), None)
        if line is None or (line.entry.action == "purge" and one.named):
            refused = refused or line is not None
            if one.named:
                rank = (0, NEVER, len(lines), *_nearest_start(one, moment.now.date()))
                ranking.items.append(RankedItem(one, item, place, rank))
        elif line.entry.action == "purge":
            gone.append(item.name)
        elif not _is_deferred(line.entry, moment):
            rank = (*line.rank, date.min, one.campaign)
            ranking.items.append(RankedItem(one, item, place, rank, line.entry.priority, line.entry.deadline))
    if refused:
        ranking.refused.append((one.campaign, REQUESTED_REASON))
    _record_purge(one, lines, gone, ranking)


def _record_purge(
    one: TargetCampaign, lines: Sequence[_RankedEntry], gone: Sequence[str], ranking: RankedItems
) -> None:
    whole = any(line.entry.action == "purge" and line.names is None for line in lines)
    if whole and len(gone) == len(one.manifest.content):
        ranking.purge[one.campaign] = None
    elif gone:
        ranking.purge[one.campaign] = tuple(gone)


def _purge_without_manifest(campaign: str, lines: Sequence[_RankedEntry], ranking: RankedItems) -> None:
    """A campaign whose manifest is not to be had: what the queue names may be purged, unless it is to be loaded."""
    kept: set[str] = set()
    gone: list[str] = []
    for line in lines:
        if line.entry.action == "load" and line.names is None:
            break
        if line.entry.action == "load":
            kept |= (line.names or frozenset()) - set(gone)
        elif line.names is not None:
            gone += sorted(line.names - kept - set(gone))
        elif kept:
            ranking.refused.append((campaign, "some of it is to be loaded, and its manifest cannot be read"))
            break
        else:
            ranking.purge[campaign] = None
            return
    if gone:
        ranking.purge[campaign] = tuple(gone)


def request_ranks(requested: RequestedItems) -> Mapping[tuple[str, str | None], int]:
    """How early somebody aboard wants it, newest wish first."""
    return {wish: place for place, wish in reversed(list(enumerate(requested)))}
