"""Selects campaigns to remove, because the queue requests it or to free space. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from loader.planning.disk_space import SpaceBudget
from loader.planning.model import PlanningContext, Removal, TargetCampaign
from loader.planning.priorities import REQUESTED_REASON, RankedItems
from loader.storage.inventory import CampaignOnDisk


def with_manifest_dates(on_disk: Iterable[CampaignOnDisk], targets: Iterable[TargetCampaign]) -> list[CampaignOnDisk]:
    """Replace the exhibition dates stored on disk with those of the manifest, if there is one."""
    dates = {target.campaign: target.manifest.exhibition for target in targets}
    return [
        replace(campaign, starts=shown.starts, ends=shown.ends) if (shown := dates.get(campaign.campaign)) else campaign
        for campaign in on_disk
    ]


def protected_campaigns(on_disk: Iterable[CampaignOnDisk], wanted: Collection[str], today: date) -> dict[str, str]:
    """Return the campaigns that must not be removed because passengers may be watching them, and the reasons."""
    campaigns = list(on_disk)
    dated = [campaign for campaign in campaigns if campaign.starts or campaign.ends]
    shown = [campaign for campaign in dated if (campaign.starts or today) <= today <= (campaign.ends or today)]
    protected = {campaign.campaign: "it is in use: its exhibition is on" for campaign in shown}
    started = [campaign for campaign in dated if (campaign.starts or date.min) <= today]
    if started and not shown:
        last = max(_start(campaign) for campaign in started)
        protected = {
            campaign.campaign: "it is in use: no later exhibition is on the aircraft"
            for campaign in started
            if _start(campaign) == last
        }
    for campaign in campaigns:
        if campaign.is_complete and campaign.campaign in wanted and not (campaign.starts or campaign.ends):
            protected[campaign.campaign] = "it is in use: it may be shown on any day"
    return protected


def _start(campaign: CampaignOnDisk) -> tuple[date, date]:
    return campaign.starts or date.min, campaign.ends or date.min


def evictable(on_disk: Iterable[CampaignOnDisk], excluded: Collection[str], today: date) -> list[CampaignOnDisk]:
    """Return the campaigns whose exhibition has ended, except those in `excluded`; the longest ended comes first."""
    ended = [
        (campaign.ends, campaign.campaign, campaign)
        for campaign in on_disk
        if campaign.ends and campaign.ends < today and campaign.campaign not in excluded
    ]
    return [campaign for *_, campaign in sorted(ended, key=lambda entry: entry[:2])]


class EvictionPlanner:
    """Collects removals: those that the queue requests, and those that free space for planned steps.

    Campaigns are removed by date only while the time can be trusted, and nothing at all is removed while the clocks
    differ. `withheld`: why ended campaigns are not removed.
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
        self._remove_requested(ranking, on_disk, context, protected)
        excluded = (
            wanted
            | protected.keys()
            | ranking.unread
            | ranking.purge.keys()
            | {campaign for campaign, _ in ranking.deferred}
        )
        self._ended = evictable(on_disk, excluded, context.trusted.date()) if context.trusted else []
        self.withheld = context.why_untrusted if evictable(on_disk, excluded, context.days[0]) else ""

    def _remove_requested(
        self,
        ranking: RankedItems,
        on_disk: Sequence[CampaignOnDisk],
        context: PlanningContext,
        protected: Mapping[str, str],
    ) -> None:
        """Add the removals that the queue requests, or refuse them."""
        by_name = {campaign.campaign: campaign for campaign in on_disk}
        ranking.refused += [(name, context.why_untrusted) for name in sorted(ranking.unconfirmed & by_name.keys())]
        for name, content in ranking.purge.items():
            campaign = by_name.get(name)
            items = content if content is None or campaign is None else _items_on_disk(campaign, content)
            if campaign is None or items == ():
                continue
            # Without the store's time, a campaign with dates may be in use.
            dated = bool(campaign.starts or campaign.ends)
            if name in protected or context.clocks_differ or (dated and context.store is None):
                ranking.refused.append((name, protected.get(name, context.why_untrusted)))
            else:
                self.removals.append(Removal(name, items, "requested by the transfer queue"))
                self._removed += [campaign] if items is None else []

    def release_removed(self, budget: SpaceBudget) -> None:
        for campaign in self._removed:
            budget.release(campaign)

    def make_room(self, needs: Mapping[int, int], budget: SpaceBudget) -> int | None:
        """Remove ended campaigns if that frees enough space in one directory; return that directory, or None."""
        choice = budget.choose_evictions(needs, self._ended)
        if choice is None:
            return None
        store, chosen = choice
        for campaign in chosen:
            self._ended.remove(campaign)
            budget.release(campaign)
            self.removals.append(
                Removal(campaign.campaign, None, f"its exhibition ended on {campaign.ends}, and space is needed")
            )
        return store


def _items_on_disk(campaign: CampaignOnDisk, content: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in content if campaign.content is None or name in campaign.content)
