"""Makes the plan: manifests, queue, disk and time in; ordered steps out. Pure: no disk, no network, no clock.

Sizes in bytes. Order comes from `loader.planning.priorities`, disk space from `loader.planning.disk_space`, types
from `loader.planning.model`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from loader.contract.manifest import Item
from loader.contract.transfer_queue import TransferQueue
from loader.errors import Code
from loader.planning.disk_space import SpaceBudget
from loader.planning.eviction import EvictionPlanner, with_manifest_dates
from loader.planning.model import Action, DiskSpace, Plan, PlanningContext, PlanStep, TargetCampaign
from loader.planning.priorities import RankedItem, RequestedItems, rank_items, request_ranks
from loader.storage.inventory import CampaignOnDisk, ItemKey, LocalItemState

FindItem = Callable[[str, Item], Sequence[LocalItemState]]
BlockedItems = Mapping[ItemKey, Code]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A wish and what every content directory has of it."""

    ranked: RankedItem
    found: Sequence[LocalItemState]
    request_rank: int

    @property
    def item(self) -> Item:
        return self.ranked.item

    @property
    def key(self) -> ItemKey:
        return ItemKey(self.ranked.target.campaign, self.item.name)

    @property
    def missing(self) -> int:
        """Bytes that the link would have to carry."""
        at_hand = any(there.file in ("whole", "unchecked") or there.staged or there.linkable for there in self.found)
        return 0 if at_hand else self.item.size - max(there.bytes_done for there in self.found)

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
        wish = self.ranked
        urgency = (wish.priority, wish.deadline, self.request_rank)
        return PlanStep(wish.target.campaign, self.item, action, store, bytes_done, staged, code, reason, *urgency)


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
    """Decide everything before a byte moves.

    `find(campaign, item)`: what each content directory has of it, in the order of `spaces`. `on_disk`: what lies there
    by campaign. `requested`: (campaign, content or None for all) that somebody aboard wants first, the newest first.
    `named`: campaigns this loader was told to load, also where their manifest is not to be had: they are not removed.
    `blocked`: the code by (campaign, content) of what failed and would only fail again.
    """
    ranking = rank_items(targets, queue, context)
    asked = _request_rank(requested)
    candidates = [_Candidate(wish, find(wish.target.campaign, wish.item), asked(wish)) for wish in ranking.items]
    candidates.sort(key=_order(context))
    purge = EvictionPlanner(ranking, with_manifest_dates(on_disk, targets), context, named)
    steps = _place_items(candidates, SpaceBudget(spaces), purge, blocked)
    wishes = Counter(wish.target.campaign for wish in ranking.items)
    return Plan(
        steps=tuple(steps),
        ended=tuple(ranking.ended),
        removals=tuple(purge.removals),
        deferred=tuple(ranking.deferred),
        refused_removals=tuple(ranking.refused),
        # What is due by the local clock waits for the next look: only the store can confirm the time.
        next_change=min((when for _, when in ranking.deferred if when > context.now), default=None),
        partial_campaigns=frozenset(
            one.campaign for one in targets if 0 < wishes[one.campaign] < len(one.manifest.content)
        ),
    )


def _request_rank(first: RequestedItems) -> Callable[[RankedItem], int]:
    """How early somebody aboard wants it."""
    wishes = request_ranks(first)

    def asked(wish: RankedItem) -> int:
        campaign = wish.target.campaign
        return min(wishes.get((campaign, name), len(wishes)) for name in (wish.item.name, None))

    return asked


def _order(moment: PlanningContext) -> Callable[[_Candidate], tuple[object, ...]]:
    room = None
    if moment.seconds_left is not None and moment.rate is not None:
        room = moment.seconds_left * moment.rate

    def key(one: _Candidate) -> tuple[object, ...]:
        item = one.item
        late = room is not None and one.missing > room
        return (one.request_rank, one.ranked.rank, not item.required, late, -item.priority, one.ranked.position)

    return key


def _place_items(
    candidates: Sequence[_Candidate], rooms: SpaceBudget, purge: EvictionPlanner, barred: BlockedItems
) -> list[PlanStep]:
    at_hand = [_step_without_download(one, barred) for one in candidates]
    for step in at_hand:
        if step is not None and step.action == "link":
            rooms.reserve_link(step.store, step.item.size)
    purge.release_removed(rooms)
    return [step or _download_step(one, rooms, purge) for one, step in zip(candidates, at_hand, strict=True)]


def _step_without_download(one: _Candidate, barred: BlockedItems) -> PlanStep | None:
    """What needs no room: kept, linked, left as it failed, or read before anything else is decided."""
    beside, stores = one.ranked.target.replacing, range(len(one.found))
    for store in stores:
        if one.found[store].file == "whole":
            return one.step("keep", store, one.item.size)
    for store in stores:
        if one.found[store].staged:
            return one.step("keep", store, one.item.size, staged=True)
    for store in stores:
        if one.found[store].linkable:
            return one.step("link", store, staged=beside)
    store = max(stores, key=lambda store: _nearness(one.found[store]))
    if code := barred.get(one.key):
        return one.step("blocked", store, one.found[store].bytes_done, staged=beside, code=code)
    if one.found[store].file == "unchecked" and not beside:
        return one.step("verify", store)
    return None


def _nearness(there: LocalItemState) -> tuple[bool, bool, int]:
    """What of an item already lies in a directory, most useful first."""
    return there.file == "unchecked", there.file != "absent", there.bytes_done


def _download_step(one: _Candidate, rooms: SpaceBudget, purge: EvictionPlanner) -> PlanStep:
    """Where something of it is already, else where most room is; refused where nothing can make it fit."""
    beside = one.ranked.target.replacing
    order = sorted(range(len(rooms)), key=lambda at: (*_nearness(one.found[at]), rooms.available(at)), reverse=True)
    needs = {store: one.item.size - one.found[store].bytes_done for store in order}
    store = next((store for store in order if needs[store] <= rooms.available(store)), None)
    if store is None:
        store = purge.make_room(needs, rooms)
    if store is None:
        store = order[0]
        reason = f"{needs[store]} bytes are still to be fetched and {rooms.available(store)} bytes may be used"
        if purge.withheld:
            reason += f"; nothing is removed for room: {purge.withheld}"
        begun = one.found[store].bytes_done
        return one.step("refuse", store, begun, staged=beside, code=Code.NO_SPACE, reason=reason)
    rooms.reserve(store, needs[store])
    return one.step("fetch", store, one.found[store].bytes_done, staged=beside)
