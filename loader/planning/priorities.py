"""Ranks the items to load: by the transfer queue, or without one by exhibition dates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from loader.contract.manifest import Item, Manifest
from loader.contract.transfer_queue import QueueEntry, TransferQueue
from loader.frozen import frozen
from loader.planning.model import PlanningContext, TargetCampaign

REQUESTED_REASON: Final = "the --campaign option names it"
NEVER: Final = datetime.max.replace(tzinfo=UTC)
RequestedItems = Sequence[tuple[str, str | None]]


@frozen
class RankedItem:
    """One item to load now. `rank`: of its queue entry (or exhibition); smaller comes first."""

    target: TargetCampaign
    item: Item
    position: int
    rank: tuple[object, ...]
    priority: int = 0
    deadline: datetime | None = None


@dataclass
class RankedItems:
    """Result of applying the queue to the campaigns.

    `purge`: items to remove, by campaign; None: all of it. `unread`: campaigns to load whose manifest cannot be read
    now. `unconfirmed`: campaigns whose removal is due by the local clock only.
    """

    items: list[RankedItem] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    purge: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    deferred: list[tuple[str, datetime]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    unconfirmed: set[str] = field(default_factory=set)


@frozen
class _RankedEntry:
    """A queue entry, its sort key, and its item names as a set (None: all items)."""

    entry: QueueEntry
    rank: tuple[int, datetime, int]
    names: frozenset[str] | None

    def lists(self, content: str) -> bool:
        return self.names is None or content in self.names


def has_ended(manifest: Manifest, today: date) -> bool:
    """Return whether the last day of the exhibition is over."""
    return manifest.exhibition.ends is not None and manifest.exhibition.ends < today


def rank_items(targets: Sequence[TargetCampaign], queue: TransferQueue | None, context: PlanningContext) -> RankedItems:
    """Return all items to load now, unsorted; `RankedItem.rank` is the sort key."""
    if queue is None or queue.entries is None:
        return _without_queue(targets, context)
    ranking = RankedItems()
    ranked_entries = _rank_entries(queue.entries)
    ranking.deferred = _deferred(ranked_entries, context)
    ranking.unconfirmed = {ranked.entry.campaign for ranked in ranked_entries if _is_unconfirmed(ranked.entry, context)}
    by_campaign: dict[str, list[_RankedEntry]] = {}
    for ranked in ranked_entries:
        # A deferred purge has no effect yet; a deferred load keeps its items from being loaded by a later entry.
        if ranked.entry.action == "load" or not _is_deferred(ranked.entry, context):
            by_campaign.setdefault(ranked.entry.campaign, []).append(ranked)
    for target in targets:
        _rank_campaign(target, by_campaign.pop(target.campaign, []), context, ranking)
    for campaign, remaining in by_campaign.items():
        _purge_without_manifest(campaign, remaining, ranking)
    ranking.unread = {
        campaign for campaign, remaining in by_campaign.items() if any(_loads(ranked) for ranked in remaining)
    }
    return ranking


def _without_queue(targets: Sequence[TargetCampaign], context: PlanningContext) -> RankedItems:
    ranking = RankedItems()
    latest, *_, earliest = (*context.days, *context.days)
    for target in targets:
        if has_ended(target.manifest, earliest) and not target.named:
            ranking.ended.append(target.campaign)
        else:
            # By one of two clocks it has ended: it is loaded, but after all others.
            rank = (0, NEVER, int(has_ended(target.manifest, latest)), *_nearest_start(target, context.today))
            ranking.items += [
                RankedItem(target, item, position, rank) for position, item in enumerate(target.manifest.content)
            ]
    return ranking


def _nearest_start(target: TargetCampaign, today: date) -> tuple[date, str]:
    """Sort key: nearest start first. A campaign without dates may be shown today."""
    return target.manifest.exhibition.starts or today, target.campaign


def _rank_entries(entries: Iterable[QueueEntry]) -> list[_RankedEntry]:
    """Sort by higher priority, then earlier deadline, then order in the queue."""
    ranked_entries = [
        _RankedEntry(
            entry,
            (-entry.priority, entry.deadline or NEVER, position),
            None if entry.content is None else frozenset(entry.content),
        )
        for position, entry in enumerate(entries)
        if entry.action in ("load", "purge")
    ]
    return sorted(ranked_entries, key=lambda ranked: ranked.rank)


def _loads(ranked: _RankedEntry) -> bool:
    return ranked.entry.action == "load"


def _is_deferred(entry: QueueEntry, context: PlanningContext) -> bool:
    """Return whether `not_before` is in the future: by either clock for a load, by trusted time for a removal."""
    if entry.not_before is None:
        return False
    now = context.trusted if entry.action == "purge" else context.earliest
    return now is None or entry.not_before > now


def _is_unconfirmed(entry: QueueEntry, context: PlanningContext) -> bool:
    """Return whether a removal waits only because the time cannot be trusted."""
    due = entry.not_before is not None and entry.not_before <= context.now
    return due and context.trusted is None and entry.action == "purge"


def _deferred(ranked_entries: Iterable[_RankedEntry], context: PlanningContext) -> list[tuple[str, datetime]]:
    deferred = {
        (entry.campaign, entry.not_before)
        for entry in (ranked.entry for ranked in ranked_entries)
        if entry.not_before is not None and _is_deferred(entry, context)
    }
    return sorted(deferred, key=lambda entry: (entry[1], entry[0]))


def _rank_campaign(
    target: TargetCampaign, ranked_entries: Sequence[_RankedEntry], context: PlanningContext, ranking: RankedItems
) -> None:
    """Apply to each item of a campaign the first entry that lists it."""
    purged: list[str] = []
    refused = False
    for position, item in enumerate(target.manifest.content):
        ranked = next((ranked for ranked in ranked_entries if ranked.lists(item.name)), None)
        if ranked is None or (ranked.entry.action == "purge" and target.named):
            refused = refused or ranked is not None
            if target.named:
                rank = (0, NEVER, len(ranked_entries), *_nearest_start(target, context.today))
                ranking.items.append(RankedItem(target, item, position, rank))
        elif ranked.entry.action == "purge":
            purged.append(item.name)
        elif not _is_deferred(ranked.entry, context):
            rank = (*ranked.rank, date.min, target.campaign)
            ranking.items.append(RankedItem(target, item, position, rank, ranked.entry.priority, ranked.entry.deadline))
    if refused:
        ranking.refused.append((target.campaign, REQUESTED_REASON))
    _record_purge(target, ranked_entries, purged, ranking)


def _record_purge(
    target: TargetCampaign, ranked_entries: Sequence[_RankedEntry], purged: Sequence[str], ranking: RankedItems
) -> None:
    is_all = any(ranked.entry.action == "purge" and ranked.names is None for ranked in ranked_entries)
    if is_all and len(purged) == len(target.manifest.content):
        ranking.purge[target.campaign] = None
    elif purged:
        ranking.purge[target.campaign] = tuple(purged)


def _purge_without_manifest(campaign: str, ranked_entries: Sequence[_RankedEntry], ranking: RankedItems) -> None:
    """Purge what the queue names of a campaign without a readable manifest, unless it is to be loaded."""
    loaded: set[str] = set()
    purged: list[str] = []
    for ranked in ranked_entries:
        if ranked.entry.action == "load" and ranked.names is None:
            break
        if ranked.entry.action == "load":
            loaded |= (ranked.names or frozenset()) - set(purged)
        elif ranked.names is not None:
            purged += sorted(ranked.names - loaded - set(purged))
        elif loaded:
            ranking.refused.append((campaign, "part of it is to be loaded, and its manifest cannot be read"))
            break
        else:
            ranking.purge[campaign] = None
            return
    if purged:
        ranking.purge[campaign] = tuple(purged)


def request_ranks(requested: RequestedItems) -> Mapping[tuple[str, str | None], int]:
    """Return the position of each local request, the newest first."""
    return {request: position for position, request in reversed(list(enumerate(requested)))}
