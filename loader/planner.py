"""Holds what was seen in the bucket against what lies on disk, and removes what is to be removed.

What to do about it `loader.plan` decides. Touches content directories, through `loader.store`, and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from loader.contract import TGZ, Item
from loader.display import size_text
from loader.errors import WorldError
from loader.eyes import Sight
from loader.facts import Found, Moment, Plan, Removal, Room, Wanted, together
from loader.failures import Key
from loader.listener import Listener
from loader.orders import Orders
from loader.plan import make_plan
from loader.ranking import First
from loader.reading import Reading
from loader.store import Edition, Store


class Planner:
    """For the content directories of one loader. Methods raise WorldError where a disk fails."""

    def __init__(self, stores: Sequence[Store], named: Sequence[str], reserve: int, listener: Listener) -> None:
        """`named`: campaigns asked for by name; `reserve`: bytes to be left free in each directory."""
        self._stores, self._named, self._reserve, self._listener = stores, frozenset(named), reserve, listener

    def edition(self, campaign: str) -> Edition | None:
        """The version of a campaign that was last whole aboard."""
        return next((edition for store in self._stores if (edition := store.edition(campaign))), None)

    def is_new(self, campaign: str, reading: Reading) -> bool:
        """Another version than the one that is read now is aboard, or none."""
        return self.edition(campaign) != reading.edition

    def plan(
        self, sight: Sight, moment: Moment, orders: Orders | None, first: First, barred: Mapping[Key, str]
    ) -> Plan:
        """What is to be done, before a byte moves."""
        readings = sight.look.readings.items()
        wanted = [
            Wanted(name, reading.manifest, name in self._named, self._is_replacing(name, reading))
            for name, reading in readings
            if reading.manifest is not None
        ]
        found = {one.campaign: self._find(one.campaign, one.manifest.content, sight.etags) for one in wanted}

        def find(campaign: str, item: Item) -> list[Found]:
            return [there[item.name] for there in found[campaign]]

        rooms = [Room((store.space().free or 0) - self._reserve, store.device) for store in self._stores]
        aboard = together([store.aboard() for store in self._stores])
        return make_plan(
            wanted, find, rooms, moment, orders=orders, aboard=aboard, first=first, named=self._named, barred=barred
        )

    def _is_replacing(self, campaign: str, reading: Reading) -> bool:
        held = self.edition(campaign)
        return held is not None and held.digest != reading.edition.digest

    def _find(self, campaign: str, items: Sequence[Item], etags: Mapping[Key, str]) -> list[dict[str, Found]]:
        known = {content: etag for (name, content), etag in etags.items() if name == campaign}
        return [store.find_all(campaign, items, known) for store in self._stores]

    # What is to be removed.

    def link_first(self, plan: Plan, sight: Sight) -> None:
        """What is to be removed may be what is to be linked to."""
        for step in plan.steps:
            if step.action == "link":
                edition = sight.look.readings[step.campaign].edition
                try:
                    self._stores[step.store].link(step.campaign, step.item, edition, beside=step.beside)
                except WorldError as error:
                    self._listener.say("link", f"{step.campaign}/{step.item.name}{TGZ}: {error}", code=error.code)

    def remove(self, removal: Removal, told: Callable[[str, set[str]], None]) -> None:
        """Purge it; `told` hears of which items, so that nothing is left of them on the ground."""
        campaign, content = removal.campaign, removal.content
        names = {name for store in self._stores for name in store.contents(campaign)}
        freed = sum(store.purge(campaign, content) for store in self._stores)
        what = campaign if content is None else f"{len(content)} items of {campaign}"
        self._listener.say("removed", f"{what}: removed, {removal.reason}; {size_text(freed)} are free again")
        told(campaign, names if content is None else names.intersection(content))
