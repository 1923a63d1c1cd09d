"""Items and campaigns of one content directory for which the operator's command still has to run.

    DIR/.loader/told/<campaign>/<content>.tgz.json   the command ran for this content
    DIR/.loader/told/<campaign>/campaign.json        the command ran for this version of the campaign

A run is pending for each item and campaign that is complete and has no such record. So a kill at any time loses no run;
at worst the command runs twice. Reads the records of `loader.storage`; writes only below DIR/.loader/told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from loader.contract.names import TGZ
from loader.frozen import frozen
from loader.storage.directory import Directory, translate_disk_errors
from loader.storage.layout import CAMPAIGNS_DIR, HELD_DIR, HOOKS_DIR, LOADER_DIR
from loader.storage.state_files import read_state, write_state

_CAMPAIGN_RECORD: Final = "campaign.json"  # never the name of an item's record, which ends in .tgz.json


class HookKey(NamedTuple):
    """An item, or with an empty `content` a campaign, in the content directory at `store`."""

    store: Path
    campaign: str
    content: str


@frozen
class PendingHook:
    """One run of the command. `path` is its argument; `mark` separates it from later content of the same key."""

    key: HookKey
    path: Path
    mark: str

    def __str__(self) -> str:
        return f"{self.key.campaign}/{self.key.content}{TGZ}" if self.key.content else self.key.campaign


class HookLedger:
    """The pending runs of one content directory. Methods may be called from any thread and raise WorldError."""

    def __init__(self, path: Path) -> None:
        """`path`: the directory of a `ContentStore` that has the lock."""
        self._path = path

    def pending(self, campaign: str | None = None) -> list[PendingHook]:
        """Return all pending runs, or those of one campaign: first its items, then the campaign if complete."""
        with translate_disk_errors("records of the command"), Directory.open(self._path) as root:
            names = _list_names(root, LOADER_DIR, HELD_DIR) if campaign is None else [campaign]
            return [pending for name in names for pending in self._pending_of(root, name)]

    def pending_item(self, campaign: str, content: str) -> list[PendingHook]:
        """Return the run of one item, if it is pending."""
        name = content + TGZ
        with translate_disk_errors("records of the command"), Directory.open(self._path) as root:
            pending = self._pending_for(root, campaign, name)
        return [pending] if pending else []

    def refresh(self, pending: PendingHook) -> PendingHook | None:
        """Return the run that is pending now for the same item or campaign; None if it is done or not on disk."""
        with translate_disk_errors("records of the command"), Directory.open(self._path) as root:
            if pending.key.content:
                return self._pending_for(root, pending.key.campaign, pending.key.content + TGZ)
            return self._pending_campaign(root, pending.key.campaign)

    def mark_done(self, pending: PendingHook) -> None:
        """Record that the command ran."""
        key = pending.key
        name = f"{key.content}{TGZ}.json" if key.content else _CAMPAIGN_RECORD
        with (
            translate_disk_errors("records of the command"),
            Directory.open(self._path) as root,
            root.make_subdirectory(LOADER_DIR, HOOKS_DIR, key.campaign) as records,
        ):
            # Not synced: if a power cut loses the record, the command runs again.
            write_state(records, name, {"mark": pending.mark}, durability="nothing")

    def remove_stale(self, campaign: str) -> None:
        """Remove the records of items that are no longer on disk."""
        with translate_disk_errors("records of the command"), Directory.open(self._path) as root:
            installed = set(_list_names(root, LOADER_DIR, HELD_DIR, campaign))
            with root.open_if_present(LOADER_DIR, HOOKS_DIR) as parent:
                with parent.open_if_present(campaign) as records:
                    for name in records.list_names():
                        if name not in installed and (name != _CAMPAIGN_RECORD or not installed):
                            records.remove(name)
                if not installed:
                    parent.remove_if_empty(campaign)

    def _pending_of(self, root: Directory, campaign: str) -> Iterator[PendingHook]:
        for name in _list_names(root, LOADER_DIR, HELD_DIR, campaign):
            pending = self._pending_for(root, campaign, name.removesuffix(".json"))
            if pending:
                yield pending
        pending_campaign = self._pending_campaign(root, campaign)
        if pending_campaign:
            yield pending_campaign

    def _pending_campaign(self, root: Directory, campaign: str) -> PendingHook | None:
        with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as states, root.open_if_present(campaign) as folder:
            mark = read_state(states, f"{campaign}.json").get("manifest") if folder.is_present else None
        if not isinstance(mark, str) or self._is_done(root, campaign, _CAMPAIGN_RECORD, mark):
            return None
        return PendingHook(HookKey(self._path, campaign, ""), self._path / campaign, mark)

    def _pending_for(self, root: Directory, campaign: str, name: str) -> PendingHook | None:
        with root.open_if_present(campaign) as folder, root.open_if_present(LOADER_DIR, HELD_DIR, campaign) as items:
            status = folder.stat_file(name)
            state = read_state(items, name + ".json")
        if status is None or (state.get("size"), state.get("mtime_ns")) != (status.st_size, status.st_mtime_ns):
            return None
        mark = f"{state.get('sha256')} {status.st_size} {status.st_mtime_ns}"
        if self._is_done(root, campaign, name + ".json", mark):
            return None
        return PendingHook(HookKey(self._path, campaign, name.removesuffix(TGZ)), self._path / campaign / name, mark)

    def _is_done(self, root: Directory, campaign: str, name: str, mark: str) -> bool:
        with root.open_if_present(LOADER_DIR, HOOKS_DIR, campaign) as records:
            return read_state(records, name).get("mark") == mark


def _list_names(root: Directory, *names: str) -> list[str]:
    with root.open_if_present(*names) as folder:
        return folder.list_names()
