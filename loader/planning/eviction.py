"""Campaigns that may be removed, by request of the queue or to make room. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from loader.planning.disk_space import SpaceBudget
from loader.planning.model import PlanningContext, Removal, TargetCampaign
from loader.planning.priorities import REQUESTED_REASON, RankedItems
from loader.storage.inventory import CampaignOnDisk


def with_manifest_dates(on_disk: Iterable[CampaignOnDisk], targets: Iterable[TargetCampaign]) -> list[CampaignOnDisk]:
    """The days of a manifest that can be read are newer than those that were kept."""
    dates = {one.campaign: one.manifest.exhibition for one in targets}
    return [
        replace(one, starts=dates[one.campaign].starts, ends=dates[one.campaign].ends) if one.campaign in dates else one
        for one in on_disk
    ]


def protected_campaigns(on_disk: Iterable[CampaignOnDisk], wanted: Collection[str], today: date) -> dict[str, str]:
    """The campaigns that may not be removed, and why: somebody may be watching them."""
    campaigns = list(on_disk)
    dated = [campaign for campaign in campaigns if campaign.starts or campaign.ends]
    shown = [campaign for campaign in dated if (campaign.starts or today) <= today <= (campaign.ends or today)]
    protected = {campaign.campaign: "it is in use: its exhibition is on" for campaign in shown}
    started = [campaign for campaign in dated if (campaign.starts or date.min) <= today]
    if started and not shown:
        last = max(_start(campaign) for campaign in started)
        protected = {
            campaign.campaign: "it is in use: no later exhibition is aboard"
            for campaign in started
            if _start(campaign) == last
        }
    for campaign in campaigns:
        if campaign.is_complete and campaign.campaign in wanted and not (campaign.starts or campaign.ends):
            protected[campaign.campaign] = "it is in use: it may be shown on any day"
    return protected


def _start(campaign: CampaignOnDisk) -> tuple[date, date]:
    return campaign.starts or date.min, campaign.ends or date.min


def evictable(on_disk: Iterable[CampaignOnDisk], kept: Collection[str], today: date) -> list[CampaignOnDisk]:
    """Those whose exhibition has ended and that are not among `kept`, the longest ended first."""
    ended = [(one.ends, one.campaign, one) for one in on_disk if one.ends and one.ends < today]
    return [one for _, campaign, one in sorted(ended, key=lambda entry: entry[:2]) if campaign not in kept]


class EvictionPlanner:
    """What is removed: what the queue asks for, and what the disk asks for while steps are placed.

    By date only while the time can be trusted. `withheld`: why nothing is removed for room that otherwise would be.
    """

    def __init__(
        self, ranking: RankedItems, on_disk: Sequence[CampaignOnDisk], context: PlanningContext, named: Collection[str]
    ) -> None:
        self.removals: list[Removal] = []
        self._removed: list[CampaignOnDisk] = []
        wanted = {ranked.target.campaign for ranked in ranking.items}
        protected = dict.fromkeys(named, REQUESTED_REASON)
        for today in context.days:
            protected |= protected_campaigns(on_disk, wanted, today)
        unsure = {one.campaign for one in on_disk if one.starts or one.ends} if context.store is None else set()
        by_name = {one.campaign: one for one in on_disk}
        ranking.refused += [(name, context.why_untrusted) for name in sorted(ranking.unconfirmed & by_name.keys())]
        for campaign, content in ranking.purge.items():
            one = by_name.get(campaign)
            items = content if content is None or one is None else _items_on_disk(one, content)
            if one is None or items == ():
                continue
            if campaign in protected or campaign in unsure:
                ranking.refused.append((campaign, protected.get(campaign, context.why_untrusted)))
            else:
                self.removals.append(Removal(campaign, items, "the queue asks for it"))
                self._removed += [one] if items is None else []
        not_evictable = (
            wanted
            | protected.keys()
            | ranking.unread
            | ranking.purge.keys()
            | {campaign for campaign, _ in ranking.deferred}
        )
        self._ended = evictable(on_disk, not_evictable, context.trusted.date()) if context.trusted else []
        self.withheld = context.why_untrusted if evictable(on_disk, not_evictable, context.days[0]) else ""

    def release_removed(self, budget: SpaceBudget) -> None:
        """Count what the queue's removals free."""
        for campaign in self._removed:
            budget.release(campaign)

    def make_room(self, needs: Mapping[int, int], budget: SpaceBudget) -> int | None:
        """Remove what has ended, if that makes room in one directory for what it needs: in which."""
        choice = budget.choose_evictions(needs, self._ended)
        if choice is None:
            return None
        store, chosen = choice
        for campaign in chosen:
            self._ended.remove(campaign)
            budget.release(campaign)
            self.removals.append(
                Removal(campaign.campaign, None, f"its exhibition ended on {campaign.ends}; room is needed")
            )
        return store


def _items_on_disk(campaign: CampaignOnDisk, content: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in content if campaign.content is None or name in campaign.content)
