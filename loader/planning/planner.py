"""Makes the plan: ordered steps from manifests, queue, disk state and time. Pure: no disk, no network, no clock.

Sizes in bytes. Order comes from `loader.planning.priorities`, disk space from `loader.planning.disk_space`, types
from `loader.planning.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from loader.contract.manifest import Item
from loader.contract.transfer_queue import TransferQueue
from loader.errors import Code
from loader.frozen import frozen
from loader.planning.disk_space import SpaceBudget
from loader.planning.eviction import EvictionPlanner, with_manifest_dates
from loader.planning.model import Action, DiskSpace, Plan, PlanningContext, PlanStep, TargetCampaign
from loader.planning.priorities import RankedItem, RequestedItems, rank_items, request_ranks
from loader.storage.inventory import CampaignOnDisk, FileState, ItemKey, LocalItemState

FindItem = Callable[[str, Item], Sequence[LocalItemState]]
BlockedItems = Mapping[ItemKey, Code]


@frozen
class _Candidate:
    """An item to load, and its state in every content directory."""

    ranked: RankedItem
    states: Sequence[LocalItemState]
    request_rank: int

    @property
    def item(self) -> Item:
        return self.ranked.item

    @property
    def key(self) -> ItemKey:
        return ItemKey(self.ranked.target.campaign, self.item.name)

    @property
    def missing(self) -> int:
        """Bytes that must be downloaded."""
        on_disk = any(
            state.file in (FileState.COMPLETE, FileState.UNVERIFIED) or state.staged or state.linkable
            for state in self.states
        )
        return 0 if on_disk else self.item.size - max(state.bytes_done for state in self.states)

    def step(
        self,
        action: Action,
        store: int,
        bytes_done: int = 0,
        *,
        staged: bool = False,
        code: Code | None = None,
        reason: str = "",
    ) -> PlanStep:
        ranked = self.ranked
        urgency = (ranked.priority, ranked.deadline, self.request_rank)
        return PlanStep(ranked.target.campaign, self.item, action, store, bytes_done, staged, code, reason, *urgency)


def make_plan(
    targets: Sequence[TargetCampaign],
    find: FindItem,
    spaces: Sequence[DiskSpace],
    context: PlanningContext,
    *,
    queue: TransferQueue | None = None,
    on_disk: Sequence[CampaignOnDisk] = (),
    requested: RequestedItems = (),
    named: Collection[str] = (),
    blocked: BlockedItems = MappingProxyType({}),
) -> Plan:
    """Return the plan for all campaigns.

    `find(campaign, item)`: the item's state in each content directory, in the order of `spaces`. `on_disk`: the
    campaigns on disk. `requested`: local requests (campaign, content or None for all), the newest first. `named`:
    campaigns of --campaign; they are never removed, even without a manifest. `blocked`: codes of items that would only
    fail again.
    """
    ranking = rank_items(targets, queue, context)
    rank_request = _request_rank(requested)
    candidates = [
        _Candidate(ranked, find(ranked.target.campaign, ranked.item), rank_request(ranked)) for ranked in ranking.items
    ]
    candidates.sort(key=_order(context))
    eviction = EvictionPlanner(ranking, with_manifest_dates(on_disk, targets), context, named)
    steps = _place_items(candidates, SpaceBudget(spaces), eviction, blocked)
    return Plan(
        steps=tuple(steps),
        ended=tuple(ranking.ended),
        removals=tuple(eviction.removals),
        deferred=tuple(ranking.deferred),
        refused_removals=tuple(ranking.refused),
        # A removal that is due by the local clock waits for the next poll: only the store can confirm the time.
        next_change=min((when for _, when in ranking.deferred if when > context.now), default=None),
    )


def _request_rank(requested: RequestedItems) -> Callable[[RankedItem], int]:
    """Return a function that gives an item's position among the local requests."""
    ranks = request_ranks(requested)

    def rank(ranked: RankedItem) -> int:
        campaign = ranked.target.campaign
        return min(ranks.get((campaign, name), len(ranks)) for name in (ranked.item.name, None))

    return rank


def _order(context: PlanningContext) -> Callable[[_Candidate], tuple[object, ...]]:
    loadable = None
    if context.seconds_left is not None and context.rate is not None:
        loadable = context.seconds_left * context.rate

    def key(candidate: _Candidate) -> tuple[object, ...]:
        item = candidate.item
        late = loadable is not None and candidate.missing > loadable
        return (
            candidate.request_rank,
            candidate.ranked.rank,
            not item.required,
            late,
            -item.priority,
            candidate.ranked.position,
        )

    return key


def _place_items(
    candidates: Sequence[_Candidate], budget: SpaceBudget, eviction: EvictionPlanner, blocked: BlockedItems
) -> list[PlanStep]:
    local_steps = [_step_without_download(candidate, blocked) for candidate in candidates]
    for step in local_steps:
        if step is not None and step.action == "link":
            budget.reserve_link(step.store, step.item.size)
    eviction.release_removed(budget)
    return [
        step or _download_step(candidate, budget, eviction)
        for candidate, step in zip(candidates, local_steps, strict=True)
    ]


def _step_without_download(candidate: _Candidate, blocked: BlockedItems) -> PlanStep | None:
    """Return the step of an item that needs no space: keep, link, blocked or verify; None if it must be fetched."""
    staged, stores = candidate.ranked.target.replacing, range(len(candidate.states))
    for store in stores:
        if candidate.states[store].file is FileState.COMPLETE:
            return candidate.step("keep", store, candidate.item.size)
    for store in stores:
        if candidate.states[store].staged:
            return candidate.step("keep", store, candidate.item.size, staged=True)
    for store in stores:
        if candidate.states[store].linkable:
            return candidate.step("link", store, staged=staged)
    store = max(stores, key=lambda store: _nearness(candidate.states[store]))
    if code := blocked.get(candidate.key):
        return candidate.step("blocked", store, candidate.states[store].bytes_done, staged=staged, code=code)
    if candidate.states[store].file is FileState.UNVERIFIED and not staged:
        return candidate.step("verify", store)
    return None


def _nearness(state: LocalItemState) -> tuple[bool, bool, int]:
    """Sort key: how much of an item a directory already has; the largest is the most useful."""
    return state.file is FileState.UNVERIFIED, state.file is not FileState.ABSENT, state.bytes_done


def _download_step(candidate: _Candidate, budget: SpaceBudget, eviction: EvictionPlanner) -> PlanStep:
    """Fetch to the directory with the most of the item, else the most space; refuse if no removal frees enough."""
    staged = candidate.ranked.target.replacing
    order = sorted(
        range(len(budget)),
        key=lambda index: (*_nearness(candidate.states[index]), budget.available(index)),
        reverse=True,
    )
    needs = {store: candidate.item.size - candidate.states[store].bytes_done for store in order}
    # An item that was begun has its files already.
    usable = [store for store in order if candidate.states[store].bytes_done or not budget.lacks_inodes(store)]
    store = next((store for store in usable if needs[store] <= budget.available(store)), None)
    if store is None:
        store = eviction.make_room({store: needs[store] for store in usable}, budget)
    if store is None:
        store = order[0]
        reason = budget.why_refused(store, needs[store])
        if eviction.withheld:
            reason += f"; nothing is removed to free space: {eviction.withheld}"
        bytes_done = candidate.states[store].bytes_done
        return candidate.step("refuse", store, bytes_done, staged=staged, code=Code.NO_SPACE, reason=reason)
    budget.reserve(store, needs[store])
    return candidate.step("fetch", store, candidate.states[store].bytes_done, staged=staged)
