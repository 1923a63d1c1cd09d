"""One content directory: layout, lock, complete and begun items, and the change to a new version.

    DIR/<campaign>/<content>.tgz                    complete, verified, durable
    DIR/.loader/held/<campaign>/<content>.tgz.json  the record of a verified item
    DIR/.loader/parts/<campaign>/                   unfinished items (`loader.storage.partial_file`)
    DIR/.loader/beside/<campaign>/                  items of a new version, staged until it is complete
    DIR/.loader/campaigns/<campaign>.json           the version that is complete
    DIR/.loader/status.json                         the last reports (`loader.reporting.reporter`)
    DIR/.loader/id                                  its permanent random id
    DIR/.loader/lease.json                          ETags of our own heartbeats (`loader.reporting.lease`)
    DIR/.loader/queue.json                          the current transfer queue (`loader.media.queue_reader`)
    DIR/.loader/told/<campaign>/                    items the operator's command was run for (`loader.hooks.ledger`)
    DIR/.loader/loader.sock                         the socket for local programs (`loader.local_api.server`)
    DIR/.loader/trust.json                          accepted signed manifests (`loader.media.manifest_verifier`)

The lock is on DIR itself and ends with the process. Names must have been checked. Raises WorldError.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.manifest import Exhibition, Item
from loader.contract.names import TGZ
from loader.storage import campaigns
from loader.storage.directory import Directory, Durability, translate_disk_errors
from loader.storage.installation import Installer
from loader.storage.inventory import CampaignOnDisk, FileState, LocalItemState, ManifestVersion
from loader.storage.item_index import ItemIndex, ItemRecord
from loader.storage.layout import HELD_DIR, LOADER_DIR, PARTS_DIR, STAGED_DIR
from loader.storage.partial_file import PartialFile
from loader.storage.state_files import STATE_LIMIT, read_intact_state, read_state, write_state

_REPORT_CACHE_LIMIT: Final = 64 * 1024 * 1024
_STORE_ID: Final = re.compile(r"[0-9a-f]{32}")


class ContentStore:
    """A content directory, open and, after `lock`, ours. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises WorldError."""
        self.path = path
        with translate_disk_errors(f"content directory {path}"):
            self._root = Directory.open(path)
        self._index = ItemIndex(self._root)
        self._installer = Installer(self._root, self._index)

    def lock(self) -> bool:
        """False if another loader holds it; nothing was touched then. Raises WorldError."""
        with translate_disk_errors(f"content directory {self.path}"):
            return self._root.lock()

    def close(self) -> None:
        """Release it."""
        self._root.close()

    def space(self) -> StoreUsage:
        """Its size and what may still be taken, in bytes."""
        with translate_disk_errors("free space"):
            total, free = self._root.space()
        return StoreUsage(str(self.path), total, free)

    @property
    def device(self) -> int:
        """Which disk it lies on: two directories with the same number share one room."""
        with translate_disk_errors(f"content directory {self.path}"):
            return os.fstat(self._root.descriptor).st_dev

    # What is there.

    def item_state(self, campaign: str, item: Item, etag: str = "") -> LocalItemState:
        """What it has of an item. `etag`: of the object in the bucket now, where that is known."""
        return self.item_states(campaign, [item], {item.name: etag})[item.name]

    def item_states(self, campaign: str, items: Iterable[Item], etags: Mapping[str, str]) -> dict[str, LocalItemState]:
        """What it has of a campaign's items, by name, in one pass. `etags`: of the objects in the bucket, by name."""
        with translate_disk_errors(f"content of {campaign}"), contextlib.ExitStack() as stack:
            places = (
                (campaign,),
                (LOADER_DIR, HELD_DIR, campaign),
                (LOADER_DIR, STAGED_DIR, campaign),
                (LOADER_DIR, PARTS_DIR, campaign),
            )
            finals, held, staged, parts = (stack.enter_context(self._root.open_if_present(*place)) for place in places)

            def found(item: Item) -> LocalItemState:
                etag = etags.get(item.name, "")
                final = self._file_state(campaign, item, etag, finals, held)
                if final is FileState.COMPLETE:
                    return LocalItemState(final)
                waits = _is_staged(staged, item, etag)
                part = PartialFile.resumable_bytes(parts, item)
                return LocalItemState(final, waits, part, not waits and self._index.has_duplicate(campaign, item))

            return {item.name: found(item) for item in items}

    def _file_state(self, campaign: str, item: Item, etag: str, finals: Directory, held: Directory) -> FileState:
        status = finals.stat_file(item.name + TGZ)
        if status is None:
            return FileState.ABSENT
        checked = self._index.record(held, campaign, item.name)
        if checked is None or not checked.matches_file(status):
            return FileState.UNVERIFIED if status.st_size == item.size else FileState.OTHER
        return FileState.COMPLETE if checked.matches_item(item, etag) else FileState.OTHER

    def list_campaigns(self) -> list[CampaignOnDisk]:
        """Every campaign of which something lies here; `bytes` has one element."""
        with translate_disk_errors("campaigns aboard"):
            return campaigns.list_campaigns(self._root)

    def item_names(self, campaign: str) -> set[str]:
        """The items of a campaign of which something lies here."""
        with translate_disk_errors(f"content of {campaign}"):
            return campaigns.item_names(self._root, campaign)

    def installed_version(self, campaign: str) -> ManifestVersion | None:
        """The version of the campaign that was last whole here."""
        with translate_disk_errors(f"state of {campaign}"):
            return campaigns.installed_version(self._root, campaign)

    def held_campaigns(self) -> list[HeldCampaign]:
        """The campaigns that are whole here."""
        with translate_disk_errors("states of campaigns"):
            return campaigns.held_campaigns(self._root)

    # Getting there.

    @contextlib.contextmanager
    def open_partial(self, campaign: str, item: Item, manifest_version: ManifestVersion) -> Iterator[PartialFile]:
        """The unfinished item, taken up or new; call its `resume` first."""
        with translate_disk_errors(f"{campaign}/{item.name}{TGZ}"):
            folder = self._root.make_subdirectory(LOADER_DIR, "parts", campaign)
        with folder:
            part = PartialFile(folder, item, manifest_version.version)
            try:
                yield part
            finally:
                part.close()

    def install(self, campaign: str, part: PartialFile, manifest_version: ManifestVersion, *, staged: bool) -> None:
        """Verify a complete part and give it its final name, or stage it while another version is in use."""
        with translate_disk_errors(f"{campaign}/{part.item.name}{TGZ}"):
            self._installer.install(campaign, part, manifest_version, staged=staged)

    def link_duplicate(self, campaign: str, item: Item, manifest_version: ManifestVersion, *, staged: bool) -> bool:
        """Install the item as a hard link to the same content under another name, durably.

        Return False if no link could be made: the item then has to be downloaded.
        """
        with translate_disk_errors(f"{campaign}/{item.name}{TGZ}"):
            return self._installer.link_duplicate(campaign, item, manifest_version, staged=staged)

    def verify(
        self, campaign: str, item: Item, etag: str, manifest_version: ManifestVersion, stop: threading.Event
    ) -> bool:
        """Hash a file that has no record; write its record and return True if it is the item. Raises Stopped."""
        with translate_disk_errors(f"{campaign}/{item.name}{TGZ}"):
            return self._installer.verify(campaign, item, etag, manifest_version, stop)

    # A campaign as a whole.

    def activate_staged(self, campaign: str, items: Collection[Item]) -> None:
        """Give each of the items that is staged its final name. After a kill, calling it again does the rest."""
        with translate_disk_errors(f"switch of {campaign}"):
            self._installer.activate_staged(campaign, items)

    def mark_complete(
        self,
        campaign: str,
        items: Collection[Item],
        manifest_version: ManifestVersion,
        *,
        exhibition: Exhibition | None = None,
        title: str = "",
    ) -> None:
        """Remove what this version no longer lists, then record durably that the campaign is complete.

        `items`: all items of the campaign, also those in other content directories. The exhibition is recorded so that
        its end is known without the manifest.
        """
        record = campaigns.complete_record(items, manifest_version, exhibition or Exhibition(), title)
        with translate_disk_errors(f"state of {campaign}"):
            campaigns.mark_complete(self._root, self._index, campaign, items, record)

    def mark_incomplete(self, campaign: str) -> None:
        """It is not whole any more, in any version; its days stay known."""
        with translate_disk_errors(f"state of {campaign}"):
            campaigns.mark_incomplete(self._root, campaign)

    def purge(self, campaign: str, contents: Collection[str] | None) -> int:
        """Remove a campaign, or only these of its items, durably; None is all of it. Returns the bytes freed.

        No item of it may be under way. Only files under names that the loader gave are touched; links that others
        planted are not followed. A kill in between is made good by calling it again.
        """
        with translate_disk_errors(f"purge of {campaign}"):
            try:
                return campaigns.purge(self._root, campaign, contents)
            finally:
                self._index.invalidate(campaign)

    def remove_stale_partials(self, campaign: str, items: Collection[Item]) -> None:
        """Remove parts of items that the campaign no longer lists, and the folder of parts once it is empty."""
        with translate_disk_errors(f"parts of {campaign}"):
            campaigns.remove_stale_partials(self._root, campaign, items)

    # What the status bucket was last told.

    def load_report_cache(self) -> Mapping[str, object]:
        """The record of an orderly end; it is removed, so that after a kill there is none."""
        with translate_disk_errors("record of reports"), self._root.open_if_present(LOADER_DIR) as folder:
            record = read_state(folder, "status.json", _REPORT_CACHE_LIMIT)
            folder.remove("status.json")
        return record

    def save_report_cache(self, record: Mapping[str, object]) -> None:
        """Leave a record for the next run."""
        with translate_disk_errors("record of reports"), self._root.make_subdirectory(LOADER_DIR) as folder:
            folder.write("status.json", json.dumps(record, ensure_ascii=False).encode(), durability="nothing")

    # Who this is.

    def store_id(self) -> str:
        """Its lasting random name, 32 hexadecimal digits; made durably when first asked for."""
        with translate_disk_errors("identity"), self._root.make_subdirectory(LOADER_DIR) as folder:
            found = (folder.read("id", 64) or b"").decode(errors="replace").strip()
            if not _STORE_ID.fullmatch(found):
                found = secrets.token_hex(16)
                folder.write("id", found.encode() + b"\n")
        return found

    def read_state(self, name: str, limit: int = STATE_LIMIT) -> Mapping[str, object]:
        """The note that was left under this name, empty where there is none. Raises WorldError if it cannot be read."""
        with translate_disk_errors(f"note {name}"), self._root.open_if_present(LOADER_DIR) as folder:
            return read_intact_state(folder, f"{name}.json", limit)

    def write_state(self, name: str, state: Mapping[str, object], *, durability: Durability = "name") -> None:
        """Keep a note for this and the next run, in one step."""
        with translate_disk_errors(f"note {name}"), self._root.make_subdirectory(LOADER_DIR) as folder:
            write_state(folder, f"{name}.json", state, durability=durability)


def _is_staged(staged: Directory, item: Item, etag: str) -> bool:
    status = staged.stat_file(item.name + TGZ)
    checked = ItemRecord.from_json(read_state(staged, f"{item.name}{TGZ}.json")) if status else None
    return (
        status is not None and checked is not None and checked.matches_file(status) and checked.matches_item(item, etag)
    )
