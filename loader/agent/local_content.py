"""Compares the last media snapshot with what is on disk, and removes what the plan removes.

`loader.planning.planner` decides. Touches content directories, through `loader.storage.content_store`, and no
network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.contract.transfer_queue import TransferQueue
from loader.contract.units import format_size
from loader.errors import Code, WorldError
from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.monitor.events import EventListener
from loader.planning.model import DiskSpace, Plan, PlanningContext, Removal, TargetCampaign
from loader.planning.planner import make_plan
from loader.planning.priorities import RequestedItems
from loader.storage.content_store import ContentStore
from loader.storage.inventory import CampaignOnDisk, ItemKey, LocalItemState, ManifestVersion, merge_stores


class LocalContent:
    """For the content directories of one loader. Methods raise WorldError where none of them can be used."""

    def __init__(
        self, stores: Sequence[ContentStore], named: Sequence[str], reserve: int, listener: EventListener
    ) -> None:
        """`named`: campaigns asked for by name; `reserve`: bytes to be left free in each directory."""
        self._stores, self._named, self._reserve, self._listener = stores, frozenset(named), reserve, listener
        self.problem = ""  # of a directory, when there was last planned

    def installed_version(self, campaign: str) -> ManifestVersion | None:
        """The version of a campaign that was last whole aboard."""
        for store in self._stores:
            try:
                version = store.installed_version(campaign)
            except WorldError as error:
                self._handle_failure(error)
                continue
            if version:
                return version
        return None

    def differs_from_installed(self, campaign: str, result: ManifestResult) -> bool:
        """Another version than the one that is read now is aboard, or none."""
        return self.installed_version(campaign) != result.manifest_version

    def plan(
        self,
        snapshot: MediaSnapshot,
        context: PlanningContext,
        queue: TransferQueue | None,
        requested: RequestedItems,
        blocked: Mapping[ItemKey, Code],
    ) -> Plan:
        """What is to be done, before a byte moves."""
        self.problem = ""
        results = snapshot.manifests.items()
        targets = [
            TargetCampaign(name, result.manifest, name in self._named, self._is_replacing(name, result))
            for name, result in results
            if result.manifest is not None
        ]
        states = {
            target.campaign: self._item_states(target.campaign, target.manifest.content, snapshot.etags)
            for target in targets
        }

        def find(campaign: str, item: Item) -> list[LocalItemState]:
            return [by_name[item.name] for by_name in states[campaign]]

        spaces, on_disk = self._disk_space()
        return make_plan(
            targets,
            find,
            spaces,
            context,
            queue=queue,
            on_disk=on_disk,
            requested=requested,
            named=self._named,
            blocked=blocked,
        )

    def _disk_space(self) -> tuple[list[DiskSpace], tuple[CampaignOnDisk, ...]]:
        """What may still be taken of each directory, and what lies there; one that fails has no room and nothing."""
        spaces, campaigns = [], []
        for index, store in enumerate(self._stores):
            try:
                space, on_disk = (
                    DiskSpace((store.space().free or 0) - self._reserve, store.device),
                    store.list_campaigns(),
                )
            except WorldError as error:
                self._handle_failure(error)
                space, on_disk = DiskSpace(0, -1 - index), []
            spaces.append(space)
            campaigns.append(on_disk)
        return spaces, merge_stores(campaigns)

    def _handle_failure(self, error: WorldError) -> None:
        """One of several directories fails: the others go on."""
        if len(self._stores) == 1:
            raise error
        self.problem = f"{error.code}: {error}"

    def _is_replacing(self, campaign: str, result: ManifestResult) -> bool:
        installed = self.installed_version(campaign)
        return installed is not None and installed.digest != result.manifest_version.digest

    def _item_states(
        self, campaign: str, items: Sequence[Item], etags: Mapping[ItemKey, str]
    ) -> list[dict[str, LocalItemState]]:
        known_etags = {content: etag for (name, content), etag in etags.items() if name == campaign}
        return [self._item_states_in(store, campaign, items, known_etags) for store in self._stores]

    def _item_states_in(
        self, store: ContentStore, campaign: str, items: Sequence[Item], etags: Mapping[str, str]
    ) -> dict[str, LocalItemState]:
        try:
            return store.item_states(campaign, items, etags)
        except WorldError as error:
            self._handle_failure(error)
            return {item.name: LocalItemState() for item in items}

    # What lies here.

    def has_items(self, campaign: str) -> bool:
        return any(store.item_names(campaign) for store in self._stores)

    def usage(self) -> tuple[StoreUsage, ...]:
        """Every directory; without figures where it fails."""
        return tuple(_usage(store) for store in self._stores)

    def held_campaigns(self) -> tuple[HeldCampaign, ...]:
        """The campaigns that are whole."""
        complete: dict[str, HeldCampaign] = {}
        for store in self._stores:
            with contextlib.suppress(WorldError):  # a disk that fails holds nothing; its items say why
                for campaign in store.held_campaigns():
                    complete.setdefault(campaign.campaign, campaign)
        return tuple(complete.values())

    # What is to be removed.

    def link_before_removal(self, plan: Plan, snapshot: MediaSnapshot, busy: Collection[ItemKey]) -> None:
        """What is to be removed may be what is to be linked to. `busy`: items that are in hand already."""
        for step in plan.steps:
            if step.action == "link" and step.key not in busy:
                version = snapshot.manifests[step.campaign].manifest_version
                try:
                    self._stores[step.store].link_duplicate(step.campaign, step.item, version, staged=step.staged)
                except WorldError as error:
                    self._listener.notice("link", f"{step.campaign}/{step.item.name}{TGZ}: {error}", code=error.code)

    def remove(
        self, removal: Removal, result: ManifestResult | None, on_removed: Callable[[str, set[str]], None]
    ) -> None:
        """Purge it; `on_removed` gets the items, so that nothing is left of them on the ground."""
        campaign, content = removal.campaign, removal.content
        names = {name for store in self._stores for name in store.item_names(campaign)}
        if result and result.manifest:
            names |= {item.name for item in result.manifest.content}  # told of, if not begun
        freed = sum(store.purge(campaign, content) for store in self._stores)
        subject = campaign if content is None else f"{len(content)} items of {campaign}"
        self._listener.notice("removed", f"{subject}: removed, {removal.reason}; {format_size(freed)} are free again")
        on_removed(campaign, names if content is None else names.intersection(content))


def _usage(store: ContentStore) -> StoreUsage:
    try:
        return store.space()
    except WorldError:
        return StoreUsage(str(store.path))
