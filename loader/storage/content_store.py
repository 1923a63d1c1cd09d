"""One content directory: its lock, its items, its campaigns, and the state files that other packages keep in it.

    DIR/<campaign>/<content>.tgz                    complete, verified, durable
    DIR/.loader/held/<campaign>/<content>.tgz.json  the record of an installed item
    DIR/.loader/parts/<campaign>/                   partial files (`loader.storage.partial_file`)
    DIR/.loader/beside/<campaign>/                  items of a new version, staged until it is complete
    DIR/.loader/campaigns/<campaign>.json           the version that is complete
    DIR/.loader/status.json                         the last reports (`loader.reporting.reporter`)
    DIR/.loader/id                                  the permanent random id of the directory
    DIR/.loader/lease.json                          ETags of our own heartbeats (`loader.reporting.lease`)
    DIR/.loader/queue.json                          the current transfer queue (`loader.media.queue_reader`)
    DIR/.loader/told/<campaign>/                    items that LOADER_ON_LOADED ran for (`loader.hooks.ledger`)
    DIR/.loader/loader.sock                         the socket for local programs (`loader.local_api.server`)
    DIR/.loader/trust.json                          accepted signed manifests (`loader.media.manifest_verifier`)

The lock is on DIR itself and ends with the process. The caller has checked all names. Raises WorldError.
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
    """An open content directory. Call `lock` before writing. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the directory; create it if missing. Raises WorldError."""
        self.path = path
        with translate_disk_errors(f"content directory {path}"):
            self._root = Directory.open(path)
        self._index = ItemIndex(self._root)
        self._installer = Installer(self._root, self._index)

    def lock(self) -> bool:
        """Return False if another loader has the directory locked."""
        with translate_disk_errors(f"content directory {self.path}"):
            return self._root.lock()

    def close(self) -> None:
        """Close the directory and release its lock."""
        self._root.close()

    def space(self) -> StoreUsage:
        with translate_disk_errors("free space"):
            space = self._root.space()
        path = os.fsencode(self.path).decode(errors="backslashreplace")  # a path may have bytes that are not UTF-8
        extra = {} if space.files_free is None else {"files_free": space.files_free}
        return StoreUsage(path, space.total, space.free, extra)

    @property
    def lacks_inodes(self) -> bool:
        """Whether the file system can take no more files, however many bytes are free."""
        with translate_disk_errors("free space"):
            return self._root.space().lacks_inodes

    def why_full(self, reserve: int) -> str:
        """Return what is missing after NO_SPACE. `reserve`: bytes that the loader leaves free."""
        with translate_disk_errors("free space"):
            space = self._root.space()
        if space.lacks_inodes:
            return f"{space.files_free} inodes are left, too few for another file, although {space.free} bytes are free"
        return f"{space.free} bytes are free, and the reserve is {reserve} bytes"

    @property
    def device(self) -> int:
        """The number of the file system: directories with the same number share its free space."""
        with translate_disk_errors(f"content directory {self.path}"):
            return os.fstat(self._root.descriptor).st_dev

    def item_state(self, campaign: str, item: Item, etag: str = "") -> LocalItemState:
        """Return what the directory has of an item. `etag`: of the object in the last listing, empty if unknown."""
        return self.item_states(campaign, [item], {item.name: etag})[item.name]

    def item_states(self, campaign: str, items: Iterable[Item], etags: Mapping[str, str]) -> dict[str, LocalItemState]:
        """Return what the directory has of the items of a campaign, by name. `etags`: as far as known, by name."""
        with translate_disk_errors(f"content of {campaign}"), contextlib.ExitStack() as stack:
            directories = (
                (campaign,),
                (LOADER_DIR, HELD_DIR, campaign),
                (LOADER_DIR, STAGED_DIR, campaign),
                (LOADER_DIR, PARTS_DIR, campaign),
            )
            files, records, staging, parts = (
                stack.enter_context(self._root.open_if_present(*names)) for names in directories
            )

            def state(item: Item) -> LocalItemState:
                etag = etags.get(item.name, "")
                file = self._file_state(campaign, item, etag, files, records)
                if file is FileState.COMPLETE:
                    return LocalItemState(file)
                staged = _is_staged(staging, item, etag)
                bytes_done = PartialFile.resumable_bytes(parts, item)
                linkable = not staged and self._index.has_duplicate(campaign, item)
                return LocalItemState(file, staged, bytes_done, linkable)

            return {item.name: state(item) for item in items}

    def _file_state(self, campaign: str, item: Item, etag: str, files: Directory, records: Directory) -> FileState:
        status = files.stat_file(item.name + TGZ)
        if status is None:
            return FileState.ABSENT
        record = self._index.record(records, campaign, item.name)
        if record is None or not record.matches_file(status):
            return FileState.UNVERIFIED if status.st_size == item.size else FileState.OTHER
        return FileState.COMPLETE if record.matches_item(item, etag) else FileState.OTHER

    def list_campaigns(self) -> list[CampaignOnDisk]:
        """Return all campaigns that the loader has files of; their `bytes` have one element."""
        with translate_disk_errors("list of campaigns"):
            return campaigns.list_campaigns(self._root)

    def item_names(self, campaign: str) -> set[str]:
        """Return the names of the items of a campaign that the loader has files of."""
        with translate_disk_errors(f"content of {campaign}"):
            return campaigns.item_names(self._root, campaign)

    def installed_version(self, campaign: str) -> ManifestVersion | None:
        """Return the version that is complete; None if there is none."""
        with translate_disk_errors(f"record of {campaign}"):
            return campaigns.installed_version(self._root, campaign)

    def held_campaigns(self) -> list[HeldCampaign]:
        """Return the complete campaigns, as the heartbeat lists them."""
        with translate_disk_errors("records of campaigns"):
            return campaigns.held_campaigns(self._root)

    @contextlib.contextmanager
    def open_partial(self, campaign: str, item: Item, manifest_version: ManifestVersion) -> Iterator[PartialFile]:
        """Open the partial file of an item, new or existing, and close it afterwards. Call its `resume` first."""
        with translate_disk_errors(f"{campaign}/{item.name}{TGZ}"):
            folder = self._root.make_subdirectory(LOADER_DIR, PARTS_DIR, campaign)
        with folder:
            part = PartialFile(folder, item, manifest_version.version)
            try:
                yield part
            finally:
                part.close()

    def install(
        self,
        campaign: str,
        part: PartialFile,
        manifest_version: ManifestVersion,
        *,
        staged: bool,
        listed_etag: str = "",
    ) -> None:
        """Verify a complete part and give it its final name, or stage it while another version is in use.

        `listed_etag`: of the object in the listing before it was read, empty if it was not listed.
        """
        with translate_disk_errors(f"{campaign}/{part.item.name}{TGZ}"):
            self._installer.install(campaign, part, manifest_version, staged=staged, etag=listed_etag or part.etag)

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

    def activate_staged(self, campaign: str, items: Collection[Item]) -> None:
        """Give each of the items that is staged its final name. After a kill, calling it again does the rest."""
        with translate_disk_errors(f"activation of {campaign}"):
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
        with translate_disk_errors(f"record of {campaign}"):
            campaigns.mark_complete(self._root, self._index, campaign, items, record)

    def mark_incomplete(self, campaign: str) -> None:
        """Record that no version of the campaign is complete. Its dates stay until it is purged."""
        with translate_disk_errors(f"record of {campaign}"):
            campaigns.mark_incomplete(self._root, campaign)

    def purge(self, campaign: str, contents: Collection[str] | None) -> int:
        """Remove a campaign or, unless `contents` is None, these of its items, durably. Return the bytes freed.

        No item of it may be in transfer. Only files that the loader installed are removed. After a kill, calling it
        again does the rest.
        """
        with translate_disk_errors(f"purge of {campaign}"):
            try:
                return campaigns.purge(self._root, campaign, contents)
            finally:
                self._index.invalidate(campaign)

    def remove_stale_partials(self, campaign: str, items: Collection[Item]) -> None:
        """Remove partial files of items that are not among `items`."""
        with translate_disk_errors(f"partial files of {campaign}"):
            campaigns.remove_stale_partials(self._root, campaign, items)

    def load_report_cache(self) -> Mapping[str, object]:
        """Return the reports that the last run saved when it stopped, and remove them.

        After a kill there are none, because what the status bucket then has is unknown.
        """
        with translate_disk_errors("saved reports"), self._root.open_if_present(LOADER_DIR) as folder:
            record = read_state(folder, "status.json", _REPORT_CACHE_LIMIT)
            folder.remove("status.json")
        return record

    def save_report_cache(self, record: Mapping[str, object]) -> None:
        """Save the reports for `load_report_cache` of the next run."""
        with translate_disk_errors("saved reports"), self._root.make_subdirectory(LOADER_DIR) as folder:
            folder.write("status.json", json.dumps(record, ensure_ascii=False).encode(), durability="nothing")

    def store_id(self) -> str:
        """Return the permanent random id of the directory, 32 hexadecimal digits; create it if missing, durably."""
        with translate_disk_errors("id of the content directory"), self._root.make_subdirectory(LOADER_DIR) as folder:
            store_id = (folder.read("id", 64) or b"").decode(errors="replace").strip()
            if not _STORE_ID.fullmatch(store_id):
                store_id = secrets.token_hex(16)
                folder.write("id", store_id.encode() + b"\n")
        return store_id

    def read_state(self, name: str, limit: int = STATE_LIMIT) -> Mapping[str, object]:
        """Return the state `.loader/<name>.json`, empty if missing. Raises WorldError if it is damaged."""
        with translate_disk_errors(f"state {name}"), self._root.open_if_present(LOADER_DIR) as folder:
            return read_intact_state(folder, f"{name}.json", limit)

    def write_state(self, name: str, state: Mapping[str, object], *, durability: Durability = "name") -> None:
        """Replace the state `.loader/<name>.json` atomically."""
        with translate_disk_errors(f"state {name}"), self._root.make_subdirectory(LOADER_DIR) as folder:
            write_state(folder, f"{name}.json", state, durability=durability)


def _is_staged(staging: Directory, item: Item, etag: str) -> bool:
    status = staging.stat_file(item.name + TGZ)
    record = ItemRecord.from_json(read_state(staging, f"{item.name}{TGZ}.json")) if status else None
    return status is not None and record is not None and record.matches_file(status) and record.matches_item(item, etag)
