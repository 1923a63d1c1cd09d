"""Compares the last media snapshot with the content on disk, and carries out removals.

`loader.planning.planner` decides. Uses content directories through `loader.storage.content_store`, and no network.
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
    """The content directories of one loader. Methods raise WorldError if none of them can be used."""

    def __init__(
        self, stores: Sequence[ContentStore], named: Sequence[str], reserve: int, listener: EventListener
    ) -> None:
        """`named`: campaigns of --campaign. `reserve`: bytes to leave free in each directory."""
        self._stores, self._named, self._reserve, self._listener = stores, frozenset(named), reserve, listener
        self.problem = ""  # with a content directory during the last planning

    def installed_version(self, campaign: str) -> ManifestVersion | None:
        """Return the version of a campaign that was last complete on disk."""
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
        """Return whether no version, or another version than that of `result`, is on disk."""
        return self.installed_version(campaign) != result.manifest_version

    def plan(
        self,
        snapshot: MediaSnapshot,
        context: PlanningContext,
        queue: TransferQueue | None,
        requested: RequestedItems,
        blocked: Mapping[ItemKey, Code],
    ) -> Plan:
        """Compare the snapshot with the content on disk and return what to do."""
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
        """Return the usable space of each directory and the campaigns on disk; a failed directory has neither."""
        spaces, campaigns = [], []
        for index, store in enumerate(self._stores):
            try:
                usage, reserve = store.space(), self._reserve
                space = DiskSpace((usage.free or 0) - reserve, store.device, reserve, store.lacks_inodes)
                on_disk = store.list_campaigns()
            except WorldError as error:
                self._handle_failure(error)
                space, on_disk = DiskSpace(0, -1 - index), []
            spaces.append(space)
            campaigns.append(on_disk)
        return spaces, merge_stores(campaigns)

    def _handle_failure(self, error: WorldError) -> None:
        """Raise the error if there is only one directory; otherwise record it and use the other ones."""
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

    # Content on disk.

    def has_items(self, campaign: str) -> bool:
        return any(store.item_names(campaign) for store in self._stores)

    def has_record(self, campaign: str) -> bool:
        """Return whether a directory has items of the campaign, or the record of a complete version."""
        found = False
        for store in self._stores:
            with contextlib.suppress(WorldError):  # planning reports a directory that cannot be read
                found = found or bool(store.item_names(campaign) or store.installed_version(campaign))
        return found

    def usage(self) -> tuple[StoreUsage, ...]:
        """Return the space of every directory, without numbers for a failed one."""
        return tuple(_usage(store) for store in self._stores)

    def held_campaigns(self) -> tuple[HeldCampaign, ...]:
        complete: dict[str, HeldCampaign] = {}
        for store in self._stores:
            with contextlib.suppress(WorldError):  # the errors of its items say that the disk failed
                for campaign in store.held_campaigns():
                    complete.setdefault(campaign.campaign, campaign)
        return tuple(complete.values())

    # Removal.

    def link_before_removal(self, plan: Plan, snapshot: MediaSnapshot, busy: Collection[ItemKey]) -> None:
        """Create the links of a plan before its removals, which may remove their sources. `busy`: items in transfer."""
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
        """Purge content. `on_removed` is called with the campaign and its items, to remove their reports."""
        campaign, content = removal.campaign, removal.content
        names = {name for store in self._stores for name in store.item_names(campaign)}
        if result and result.manifest:
            names |= {item.name for item in result.manifest.content}  # reported even if not started
        freed = sum(store.purge(campaign, content) for store in self._stores)
        subject = campaign if content is None else f"{len(content)} items of {campaign}"
        self._listener.notice("removed", f"Removed {subject}: {removal.reason}; {format_size(freed)} freed")
        on_removed(campaign, names if content is None else names.intersection(content))


def _usage(store: ContentStore) -> StoreUsage:
    try:
        return store.space()
    except WorldError:
        return StoreUsage(str(store.path))
