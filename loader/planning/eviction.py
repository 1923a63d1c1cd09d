"""Campaigns that may be removed, by request of the queue or to make room. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from loader.planning.disk_space import SpaceBudget
from loader.planning.model import PlanningContext, Removal, TargetCampaign
from loader.planning.priorities import REQUESTED_REASON, RankedItems
from loader.storage.inventory import CampaignOnDisk


def with_manifest_dates(on_disk: Iterable[CampaignOnDisk], wanted: Iterable[TargetCampaign]) -> list[CampaignOnDisk]:
    """The days of a manifest that can be read are newer than those that were kept."""
    days = {one.campaign: one.manifest.exhibition for one in wanted}
    return [
        replace(one, starts=days[one.campaign].starts, ends=days[one.campaign].ends) if one.campaign in days else one
        for one in on_disk
    ]


def protected_campaigns(on_disk: Iterable[CampaignOnDisk], wanted: Collection[str], today: date) -> dict[str, str]:
    """The campaigns that may not be removed, and why: somebody may be watching them."""
    lying = list(on_disk)
    dated = [one for one in lying if one.starts or one.ends]
    shown = [one for one in dated if (one.starts or today) <= today <= (one.ends or today)]
    used = {one.campaign: "it is in use: its exhibition is on" for one in shown}
    begun = [one for one in dated if (one.starts or date.min) <= today]
    if begun and not shown:
        last = max(_start(one) for one in begun)
        used = {one.campaign: "it is in use: no later exhibition is aboard" for one in begun if _start(one) == last}
    for one in lying:
        if one.is_complete and one.campaign in wanted and not (one.starts or one.ends):
            used[one.campaign] = "it is in use: it may be shown on any day"
    return used


def _start(one: CampaignOnDisk) -> tuple[date, date]:
    return one.starts or date.min, one.ends or date.min


def evictable(on_disk: Iterable[CampaignOnDisk], kept: Collection[str], today: date) -> list[CampaignOnDisk]:
    """Those whose exhibition has ended and that are not among `kept`, the longest ended first."""
    ended = [(one.ends, one.campaign, one) for one in on_disk if one.ends and one.ends < today]
    return [one for _, campaign, one in sorted(ended, key=lambda entry: entry[:2]) if campaign not in kept]


class EvictionPlanner:
    """What is removed: what the queue asks for, and what the disk asks for while steps are placed.

    By date only while the time can be trusted. `withheld`: why nothing is removed for room that otherwise would be.
    """

    def __init__(
        self, ranking: RankedItems, aboard: Sequence[CampaignOnDisk], moment: PlanningContext, named: Collection[str]
    ) -> None:
        self.removals: list[Removal] = []
        self._removed: list[CampaignOnDisk] = []
        wanted = {wish.target.campaign for wish in ranking.items}
        used = dict.fromkeys(named, REQUESTED_REASON)
        for today in moment.days:
            used |= protected_campaigns(aboard, wanted, today)
        unsure = {one.campaign for one in aboard if one.starts or one.ends} if moment.store is None else set()
        lying = {one.campaign: one for one in aboard}
        ranking.refused += [(name, moment.doubt) for name in sorted(ranking.doubted & lying.keys())]
        for campaign, content in ranking.purge.items():
            one = lying.get(campaign)
            asked = content if content is None or one is None else _items_on_disk(one, content)
            if one is None or asked == ():
                continue
            if campaign in used or campaign in unsure:
                ranking.refused.append((campaign, used.get(campaign, moment.doubt)))
            else:
                self.removals.append(Removal(campaign, asked, "the queue asks for it"))
                self._removed += [one] if asked is None else []
        kept = (
            wanted
            | used.keys()
            | ranking.unread
            | ranking.purge.keys()
            | {campaign for campaign, _ in ranking.deferred}
        )
        self._ended = evictable(aboard, kept, moment.trusted.date()) if moment.trusted else []
        self.withheld = moment.doubt if evictable(aboard, kept, moment.days[0]) else ""

    def release_removed(self, rooms: SpaceBudget) -> None:
        """Count what the queue's removals free."""
        for one in self._removed:
            rooms.release(one)

    def make_room(self, needs: Mapping[int, int], rooms: SpaceBudget) -> int | None:
        """Remove what has ended, if that makes room in one directory for what it needs: in which."""
        way = rooms.choose_evictions(needs, self._ended)
        if way is None:
            return None
        store, chosen = way
        for one in chosen:
            self._ended.remove(one)
            rooms.release(one)
            self.removals.append(Removal(one.campaign, None, f"its exhibition ended on {one.ends}; room is needed"))
        return store


def _items_on_disk(one: CampaignOnDisk, content: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in content if one.content is None or name in one.content)
