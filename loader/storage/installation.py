"""Installs verified items: downloaded, hard-linked, already present, or staged until their version is complete.

Each operation writes the record of an item (`DIR/.loader/held/`) and gives the item its final name, in an order that
leaves a consistent directory after a kill or a power cut between any two system calls. Touches only the content
directory of its index. Raises OSError, and WorldError from `PartialFile.finish`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from typing import Final

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.errors import Stopped
from loader.failpoints import failpoint
from loader.storage.directory import Directory, sync
from loader.storage.inventory import ManifestVersion
from loader.storage.item_index import ItemIndex, ItemRecord
from loader.storage.layout import HELD_DIR, LOADER_DIR, PARTS_DIR, STAGED_DIR
from loader.storage.partial_file import PartialFile
from loader.storage.state_files import read_state, write_state

_BLOCK: Final = 1024 * 1024


class Installer:
    """Gives items their final names in one content directory and keeps its index current."""

    def __init__(self, root: Directory, index: ItemIndex) -> None:
        self._root, self._index = root, index

    def install(
        self, campaign: str, part: PartialFile, manifest_version: ManifestVersion, *, staged: bool, etag: str
    ) -> None:
        """Verify a complete part and give it its final name, or stage it; record `etag` with it. Raises WorldError."""
        name, digest = part.item.name + TGZ, part.sha256
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(self._make_target(campaign, staged=staged))
            records = stack.enter_context(self._make_records(campaign, staged=staged))

            def write_record(status: os.stat_result) -> None:
                # Written before the rename, so that a file under its final name always has a record. If a power cut
                # loses or tears the record, the file is verified again, not downloaded.
                record = _to_json(_file_record(status, digest, etag), manifest_version)
                write_state(records, name + ".json", record, durability="nothing")
                failpoint("held-written")

            status = part.finish(target, name, write_record)
            if not staged:
                self._index.add(records, campaign, part.item.name, _file_record(status, digest, etag))
            part.remove_state()

    def link_duplicate(self, campaign: str, item: Item, manifest_version: ManifestVersion, *, staged: bool) -> bool:
        """Install the item as a hard link to the same content under another name, durably.

        Return False if no link could be made: the item then has to be downloaded.
        """
        name = item.name + TGZ
        with self._root.make_subdirectory(LOADER_DIR, PARTS_DIR, campaign) as parts:
            link = self._index.link_duplicate(campaign, item, parts)
            if link is None:
                return False
            failpoint("link-made")
            temporary, record = link
            with self._make_target(campaign, staged=staged) as target:
                parts.move(temporary, target, name)
                target.fsync()
            # rename(2) does nothing if both names are links to the same file: the temporary name then still exists.
            parts.remove(temporary)
            failpoint("linked")
            with self._make_records(campaign, staged=staged) as records:
                # The ETag of the item's own object is unknown: only the duplicate's was ever read.
                unread = ItemRecord(record.size, record.mtime_ns, record.sha256, etag="")
                write_state(records, name + ".json", _to_json(unread, manifest_version), durability="bytes")
                if not staged:
                    self._index.add(records, campaign, item.name, unread)
            for suffix in (".part", ".json"):
                parts.remove(name + suffix)
        return True

    def verify(
        self, campaign: str, item: Item, etag: str, manifest_version: ManifestVersion, stop: threading.Event
    ) -> bool:
        """Hash a file that has no record; write its record and return True if it is the item. Raises Stopped."""
        name = item.name + TGZ
        with self._root.open_if_present(campaign) as folder:
            if not folder.is_present:
                return False
            descriptor = folder.open_file(name, os.O_RDONLY, shared=True)
            with os.fdopen(descriptor, "rb", buffering=0) as stream:
                digest = _sha256(stream.readinto, stop)
                sync(descriptor)
                status = os.fstat(descriptor)
            if status.st_size != item.size or (item.sha256 is not None and digest != item.sha256):
                return False
            folder.fsync()
            with self._make_records(campaign, staged=False) as records:
                record = _file_record(status, digest, etag)
                write_state(records, name + ".json", _to_json(record, manifest_version))
                self._index.add(records, campaign, item.name, record)
        return True

    def activate_staged(self, campaign: str, items: Iterable[Item]) -> None:
        """Give each of the items that is staged its final name and empty the staging directory.

        After a kill, calling it again does the rest.
        """
        with self._root.open_if_present(LOADER_DIR, STAGED_DIR, campaign) as staging:
            if not staging.is_present:
                return
            failpoint("switch-begun")
            with (
                self._make_target(campaign, staged=False) as folder,
                self._make_records(campaign, staged=False) as records,
            ):
                for name in (item.name + TGZ for item in items):
                    if staging.stat_file(name) is not None:
                        _activate_item(name, staging, folder, records)
            for name in staging.list_names():
                staging.remove(name)
        with self._root.open_if_present(LOADER_DIR, STAGED_DIR) as above:
            above.remove_if_empty(campaign)
        self._index.invalidate(campaign)
        failpoint("switch-done")

    def _make_target(self, campaign: str, *, staged: bool) -> Directory:
        return self._root.make_subdirectory(*((LOADER_DIR, STAGED_DIR, campaign) if staged else (campaign,)))

    def _make_records(self, campaign: str, *, staged: bool) -> Directory:
        return self._root.make_subdirectory(LOADER_DIR, STAGED_DIR if staged else HELD_DIR, campaign)


def _file_record(status: os.stat_result, digest: str, etag: str) -> ItemRecord:
    return ItemRecord(status.st_size, status.st_mtime_ns, digest, etag)


def _to_json(record: ItemRecord, manifest_version: ManifestVersion) -> dict[str, object]:
    fields = {name: getattr(record, name) for name in ("size", "mtime_ns", "sha256", "etag")}
    return {**fields, "version": manifest_version.version, "manifest": manifest_version.digest}


def _activate_item(name: str, staging: Directory, folder: Directory, records: Directory) -> None:
    state = read_state(staging, name + ".json")
    # Written before the rename: with the old record, a kill in between would have the new file downloaded again.
    write_state(records, name + ".json", state, durability="bytes")
    staging.move(name, folder, name)
    failpoint("switch-halfway")
    folder.fsync()


def _sha256(readinto: Callable[[memoryview], int], stop: threading.Event) -> str:
    checksum, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count := readinto(buffer):
        if stop.is_set():
            raise Stopped
        checksum.update(buffer[:count])
    return checksum.hexdigest()
