"""Items and campaigns of one content directory that the operator's command has yet to be run for.

    DIR/.loader/told/<campaign>/<content>.tgz.json   the command was run for this content
    DIR/.loader/told/<campaign>/campaign.json        and for this version of the campaign

Pending is whatever is complete and has no such record: a kill at any instant loses nothing, at worst the command runs
twice. Reads the records of `loader.storage.content_store`; writes only below DIR/.loader/told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.contract.names import TGZ
from loader.storage.directory import Directory, translate_disk_errors
from loader.storage.layout import HOOKS_DIR, LOADER_DIR
from loader.storage.state_files import read_state, write_state

_CAMPAIGN_RECORD: Final = "campaign.json"  # no item's: theirs end in .tgz.json


@dataclass(frozen=True, slots=True)
class PendingHook:
    """One run of the command. `content` is empty for a whole campaign; `mark` tells this content from a later one."""

    path: Path
    campaign: str
    content: str
    mark: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is for, whatever its content."""
        return str(self.path), self.campaign, self.content

    def __str__(self) -> str:
        return f"{self.campaign}/{self.content}{TGZ}" if self.content else self.campaign


class HookLedger:
    """What is owed in one content directory. Methods may be called from any thread and raise WorldError."""

    def __init__(self, path: Path) -> None:
        """The directory of a `ContentStore`, which holds its lock."""
        self._path = path

    def pending(self, campaign: str | None = None) -> list[PendingHook]:
        """Everything, or all of one campaign: items first, then the campaign, if that is whole."""
        with translate_disk_errors("notes of the command"), self._root() as root:
            names = _list_names(root, LOADER_DIR, "held") if campaign is None else [campaign]
            return [owed for name in names for owed in self._pending_of(root, name)]

    def pending_item(self, campaign: str, content: str) -> list[PendingHook]:
        """The one item, if it is owed."""
        name = content + TGZ
        with translate_disk_errors("notes of the command"), self._root() as root:
            owed = self._pending_for(root, campaign, name)
        return [owed] if owed else []

    def refresh(self, owed: PendingHook) -> PendingHook | None:
        """Return what is pending now for the same item or campaign: None once it was marked done or removed."""
        with translate_disk_errors("notes of the command"), self._root() as root:
            if owed.content:
                return self._pending_for(root, owed.campaign, owed.content + TGZ)
            return self._pending_campaign(root, owed.campaign)

    def owns(self, owed: PendingHook) -> bool:
        """Whether it is owed in this directory."""
        return self._path in owed.path.parents

    def mark_done(self, owed: PendingHook) -> None:
        """The command was run for it."""
        name = f"{owed.content}{TGZ}.json" if owed.content else _CAMPAIGN_RECORD
        with (
            translate_disk_errors("notes of the command"),
            self._root() as root,
            root.make_subdirectory(LOADER_DIR, HOOKS_DIR, owed.campaign) as told,
        ):
            # Were it lost in a power cut, the command would be run again.
            write_state(told, name, {"mark": owed.mark}, durability="nothing")

    def remove_stale(self, campaign: str) -> None:
        """Forget items that are not here any more."""
        with translate_disk_errors("notes of the command"), self._root() as root:
            held = set(_list_names(root, LOADER_DIR, "held", campaign))
            with _open_if_present(root, LOADER_DIR, HOOKS_DIR, campaign) as told:
                for name in told.list_names() if told else []:
                    if told and name not in held and (name != _CAMPAIGN_RECORD or not held):
                        told.remove(name)
            with _open_if_present(root, LOADER_DIR, HOOKS_DIR) as above:
                if above and not held:
                    above.remove_if_empty(campaign)

    def _pending_of(self, root: Directory, campaign: str) -> Iterator[PendingHook]:
        for name in _list_names(root, LOADER_DIR, "held", campaign):
            owed = self._pending_for(root, campaign, name.removesuffix(".json"))
            if owed:
                yield owed
        whole_campaign = self._pending_campaign(root, campaign)
        if whole_campaign:
            yield whole_campaign

    def _pending_campaign(self, root: Directory, campaign: str) -> PendingHook | None:
        with _open_if_present(root, LOADER_DIR, "campaigns") as states, _open_if_present(root, campaign) as folder:
            mark = read_state(states, f"{campaign}.json").get("manifest") if states and folder else None
        if not isinstance(mark, str) or self._is_done(root, campaign, _CAMPAIGN_RECORD, mark):
            return None
        return PendingHook(self._path / campaign, campaign, "", mark)

    def _pending_for(self, root: Directory, campaign: str, name: str) -> PendingHook | None:
        with _open_if_present(root, campaign) as folder, _open_if_present(root, LOADER_DIR, "held", campaign) as held:
            status = folder.stat_file(name) if folder else None
            state = read_state(held, name + ".json") if held else {}
        if status is None or (state.get("size"), state.get("mtime_ns")) != (status.st_size, status.st_mtime_ns):
            return None
        mark = f"{state.get('sha256')} {status.st_size} {status.st_mtime_ns}"
        if self._is_done(root, campaign, name + ".json", mark):
            return None
        return PendingHook(self._path / campaign / name, campaign, name.removesuffix(TGZ), mark)

    def _is_done(self, root: Directory, campaign: str, name: str, mark: str) -> bool:
        with _open_if_present(root, LOADER_DIR, HOOKS_DIR, campaign) as told:
            return told is not None and read_state(told, name).get("mark") == mark

    @contextlib.contextmanager
    def _root(self) -> Iterator[Directory]:
        with Directory.open(self._path) as root:
            yield root


@contextlib.contextmanager
def _open_if_present(root: Directory, *names: str) -> Iterator[Directory | None]:
    folder = root.open_subdirectory(*names)
    try:
        yield folder
    finally:
        if folder is not None:
            folder.close()


def _list_names(root: Directory, *names: str) -> list[str]:
    with _open_if_present(root, *names) as folder:
        return folder.list_names() if folder else []
