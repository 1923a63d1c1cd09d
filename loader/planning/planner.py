"""What to do next, and what not: manifests, queue, what is on disk, free space and the time in; ordered steps out.

Pure: no disk, no network, no clock. Sizes in bytes. What is wanted and in which order `loader.planning.priorities`
knows, what has room `loader.planning.disk_space`; the words are those of `loader.planning.model`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from loader.contract.manifest import Item
from loader.contract.transfer_queue import TransferQueue
from loader.planning.disk_space import Rooms
from loader.planning.eviction import EvictionPlanner, with_days
from loader.planning.model import Action, Moment, Plan, Room, Step, Wanted
from loader.planning.priorities import First, Wish, first_wanted, rank_all
from loader.storage.inventory import CampaignOnDisk, LocalItemState

Find = Callable[[str, Item], Sequence[LocalItemState]]
Barred = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A wish and what every content directory has of it."""

    wish: Wish
    found: Sequence[LocalItemState]
    asked: int

    @property
    def item(self) -> Item:
        return self.wish.item

    @property
    def missing(self) -> int:
        """Bytes that the link would have to carry."""
        at_hand = any(there.file in ("whole", "unchecked") or there.staged or there.linkable for there in self.found)
        return 0 if at_hand else self.item.size - max(there.bytes_done for there in self.found)

    def step(
        self, action: Action, store: int, begun: int = 0, *, beside: bool = False, code: str = "", reason: str = ""
    ) -> Step:
        wish = self.wish
        urgency = (wish.priority, wish.deadline, self.asked)
        return Step(wish.of.campaign, self.item, action, store, begun, beside, code, reason, *urgency)


def make_plan(
    wanted: Sequence[Wanted],
    find: Find,
    rooms: Sequence[Room],
    moment: Moment,
    *,
    orders: TransferQueue | None = None,
    aboard: Sequence[CampaignOnDisk] = (),
    first: First = (),
    named: Collection[str] = (),
    barred: Barred = MappingProxyType({}),
) -> Plan:
    """Decide everything before a byte moves.

    `find(campaign, item)`: what each content directory has of it, in the order of `rooms`. `aboard`: what lies there
    by campaign. `first`: (campaign, content or None for all) that somebody aboard wants first, the newest first.
    `named`: campaigns this loader was told to load, also where their manifest is not to be had: they are not removed.
    `barred`: the code by (campaign, content) of what failed and would only fail again.
    """
    ranking = rank_all(wanted, orders, moment)
    asked = _asked(first)
    candidates = [_Candidate(wish, find(wish.of.campaign, wish.item), asked(wish)) for wish in ranking.wishes]
    candidates.sort(key=_order(moment))
    purge = EvictionPlanner(ranking, with_days(aboard, wanted), moment, named)
    steps = _place(candidates, Rooms(rooms), purge, barred)
    wishes = Counter(wish.of.campaign for wish in ranking.wishes)
    return Plan(
        steps=tuple(steps),
        ended=tuple(ranking.ended),
        removals=tuple(purge.removals),
        later=tuple(ranking.later),
        refused_removals=tuple(ranking.refused),
        # What is due by the local clock waits for the next look: only the store can confirm the time.
        next_change=min((when for _, when in ranking.later if when > moment.now), default=None),
        partial=frozenset(one.campaign for one in wanted if 0 < wishes[one.campaign] < len(one.manifest.content)),
    )


def _asked(first: First) -> Callable[[Wish], int]:
    """How early somebody aboard wants it."""
    wishes = first_wanted(first)

    def asked(wish: Wish) -> int:
        campaign = wish.of.campaign
        return min(wishes.get((campaign, name), len(wishes)) for name in (wish.item.name, None))

    return asked


def _order(moment: Moment) -> Callable[[_Candidate], tuple[object, ...]]:
    room = None
    if moment.seconds_left is not None and moment.rate is not None:
        room = moment.seconds_left * moment.rate

    def key(one: _Candidate) -> tuple[object, ...]:
        item = one.item
        late = room is not None and one.missing > room
        return (one.asked, one.wish.rank, not item.required, late, -item.priority, one.wish.place)

    return key


def _place(candidates: Sequence[_Candidate], rooms: Rooms, purge: EvictionPlanner, barred: Barred) -> list[Step]:
    at_hand = [_at_hand(one, barred) for one in candidates]
    for step in at_hand:
        if step is not None and step.action == "link":
            rooms.owe(step.store, step.item.size)
    purge.begin(rooms)
    return [step or _fetch(one, rooms, purge) for one, step in zip(candidates, at_hand, strict=True)]


def _at_hand(one: _Candidate, barred: Barred) -> Step | None:
    """What needs no room: kept, linked, left as it failed, or read before anything else is decided."""
    beside, stores = one.wish.of.replacing, range(len(one.found))
    for store in stores:
        if one.found[store].file == "whole":
            return one.step("keep", store, one.item.size)
    for store in stores:
        if one.found[store].staged:
            return one.step("keep", store, one.item.size, beside=True)
    for store in stores:
        if one.found[store].linkable:
            return one.step("link", store, beside=beside)
    store = max(stores, key=lambda store: _nearness(one.found[store]))
    if code := barred.get((one.wish.of.campaign, one.item.name)):
        return one.step("leave", store, one.found[store].bytes_done, beside=beside, code=code)
    if one.found[store].file == "unchecked" and not beside:
        return one.step("verify", store)
    return None


def _nearness(there: LocalItemState) -> tuple[bool, bool, int]:
    """What of an item already lies in a directory, most useful first."""
    return there.file == "unchecked", there.file != "absent", there.bytes_done


def _fetch(one: _Candidate, rooms: Rooms, purge: EvictionPlanner) -> Step:
    """Where something of it is already, else where most room is; refused where nothing can make it fit."""
    beside = one.wish.of.replacing
    order = sorted(range(len(rooms)), key=lambda at: (*_nearness(one.found[at]), rooms.left(at)), reverse=True)
    needs = {store: one.item.size - one.found[store].bytes_done for store in order}
    store = next((store for store in order if needs[store] <= rooms.left(store)), None)
    if store is None:
        store = purge.for_room(needs, rooms)
    if store is None:
        store = order[0]
        reason = f"{needs[store]} bytes are still to be fetched and {rooms.left(store)} bytes may be used"
        if purge.withheld:
            reason += f"; nothing is removed for room: {purge.withheld}"
        begun = one.found[store].bytes_done
        return one.step("refuse", store, begun, beside=beside, code="NO_SPACE", reason=reason)
    rooms.take(store, needs[store])
    return one.step("fetch", store, one.found[store].bytes_done, beside=beside)
