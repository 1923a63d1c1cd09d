"""Items and campaigns of one content directory that the operator's command has yet to be run for.

    DIR/.loader/told/<campaign>/<content>.tgz.json   the command was run for this content
    DIR/.loader/told/<campaign>/campaign.json        and for this version of the campaign

Pending is whatever is complete and has no such record: a kill at any instant loses nothing, at worst the command runs
twice. Reads the records of `loader.storage.content_store`; writes only below DIR/.loader/told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from loader.contract.names import TGZ
from loader.storage.directory import Directory, translate_disk_errors
from loader.storage.layout import CAMPAIGNS_DIR, HELD_DIR, HOOKS_DIR, LOADER_DIR
from loader.storage.state_files import read_state, write_state

_CAMPAIGN_RECORD: Final = "campaign.json"  # no item's: theirs end in .tgz.json


class HookKey(NamedTuple):
    """An item, or with an empty `content` a campaign, in the content directory at `store`."""

    store: Path
    campaign: str
    content: str


@dataclass(frozen=True, slots=True)
class PendingHook:
    """One run of the command. `path` is its argument; `mark` tells this content from a later one of the same key."""

    key: HookKey
    path: Path
    mark: str

    def __str__(self) -> str:
        return f"{self.key.campaign}/{self.key.content}{TGZ}" if self.key.content else self.key.campaign


class HookLedger:
    """What is owed in one content directory. Methods may be called from any thread and raise WorldError."""

    def __init__(self, path: Path) -> None:
        """The directory of a `ContentStore`, which holds its lock."""
        self._path = path

    def pending(self, campaign: str | None = None) -> list[PendingHook]:
        """Everything, or all of one campaign: items first, then the campaign, if that is whole."""
        with translate_disk_errors("notes of the command"), Directory.open(self._path) as root:
            names = _list_names(root, LOADER_DIR, HELD_DIR) if campaign is None else [campaign]
            return [owed for name in names for owed in self._pending_of(root, name)]

    def pending_item(self, campaign: str, content: str) -> list[PendingHook]:
        """The one item, if it is owed."""
        name = content + TGZ
        with translate_disk_errors("notes of the command"), Directory.open(self._path) as root:
            owed = self._pending_for(root, campaign, name)
        return [owed] if owed else []

    def refresh(self, pending: PendingHook) -> PendingHook | None:
        """Return what is pending now for the same item or campaign: None once it was marked done or removed."""
        with translate_disk_errors("notes of the command"), Directory.open(self._path) as root:
            if pending.key.content:
                return self._pending_for(root, pending.key.campaign, pending.key.content + TGZ)
            return self._pending_campaign(root, pending.key.campaign)

    def mark_done(self, pending: PendingHook) -> None:
        """The command was run for it."""
        key = pending.key
        name = f"{key.content}{TGZ}.json" if key.content else _CAMPAIGN_RECORD
        with (
            translate_disk_errors("notes of the command"),
            Directory.open(self._path) as root,
            root.make_subdirectory(LOADER_DIR, HOOKS_DIR, key.campaign) as records,
        ):
            # Were it lost in a power cut, the command would be run again.
            write_state(records, name, {"mark": pending.mark}, durability="nothing")

    def remove_stale(self, campaign: str) -> None:
        """Forget items that are not here any more."""
        with translate_disk_errors("notes of the command"), Directory.open(self._path) as root:
            held = set(_list_names(root, LOADER_DIR, HELD_DIR, campaign))
            with root.open_if_present(LOADER_DIR, HOOKS_DIR) as above:
                with above.open_if_present(campaign) as records:
                    for name in records.list_names():
                        if name not in held and (name != _CAMPAIGN_RECORD or not held):
                            records.remove(name)
                if not held:
                    above.remove_if_empty(campaign)

    def _pending_of(self, root: Directory, campaign: str) -> Iterator[PendingHook]:
        for name in _list_names(root, LOADER_DIR, HELD_DIR, campaign):
            owed = self._pending_for(root, campaign, name.removesuffix(".json"))
            if owed:
                yield owed
        whole_campaign = self._pending_campaign(root, campaign)
        if whole_campaign:
            yield whole_campaign

    def _pending_campaign(self, root: Directory, campaign: str) -> PendingHook | None:
        with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as states, root.open_if_present(campaign) as folder:
            mark = read_state(states, f"{campaign}.json").get("manifest") if folder.is_present else None
        if not isinstance(mark, str) or self._is_done(root, campaign, _CAMPAIGN_RECORD, mark):
            return None
        return PendingHook(HookKey(self._path, campaign, ""), self._path / campaign, mark)

    def _pending_for(self, root: Directory, campaign: str, name: str) -> PendingHook | None:
        with root.open_if_present(campaign) as folder, root.open_if_present(LOADER_DIR, HELD_DIR, campaign) as held:
            status = folder.stat_file(name)
            state = read_state(held, name + ".json")
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
