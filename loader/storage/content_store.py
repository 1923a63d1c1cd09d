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
import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.manifest import Exhibition, Item
from loader.contract.names import TGZ
from loader.errors import Code, Stopped, WorldError
from loader.failpoints import failpoint
from loader.storage.campaigns import (
    campaign_records,
    installed_names,
    is_complete,
    item_names,
    list_campaigns,
    mark_incomplete,
    purge,
    to_held_campaign,
)
from loader.storage.directory import Directory, Durability, open_if_present, translate_disk_errors
from loader.storage.inventory import CampaignOnDisk, LocalItemState, ManifestVersion
from loader.storage.item_index import ItemIndex, ItemRecord
from loader.storage.layout import CAMPAIGNS_DIR, HELD_DIR, LOADER_DIR, PARTS_DIR, STAGED_DIR
from loader.storage.partial_file import PartialFile
from loader.storage.state_files import STATE_LIMIT, read_state, write_state

_BLOCK: Final = 1024 * 1024
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
            finals, held, beside, parts = (stack.enter_context(open_if_present(self._root, *place)) for place in places)

            def found(item: Item) -> LocalItemState:
                etag = etags.get(item.name, "")
                final = self._file_state(campaign, item, etag, finals, held)
                if final == "whole":
                    return LocalItemState(final)
                waits = beside is not None and _is_staged(beside, item, etag)
                part = PartialFile.resumable_bytes(parts, item) if parts else 0
                return LocalItemState(final, waits, part, not waits and self._index.has_duplicate(campaign, item))

            return {item.name: found(item) for item in items}

    def _file_state(
        self, campaign: str, item: Item, etag: str, finals: Directory | None, held: Directory | None
    ) -> str:
        status = finals.stat_file(item.name + TGZ) if finals else None
        if status is None:
            return "absent"
        checked = self._index.record(held, campaign, item.name) if held else None
        if checked is None or not checked.matches_file(status):
            return "unchecked" if status.st_size == item.size else "other"
        return "whole" if checked.matches_item(item, etag) else "other"

    def list_campaigns(self) -> list[CampaignOnDisk]:
        """Every campaign of which something lies here; `bytes` has one element."""
        with translate_disk_errors("campaigns aboard"):
            return list_campaigns(self._root)

    def item_names(self, campaign: str) -> set[str]:
        """The items of a campaign of which something lies here."""
        with translate_disk_errors(f"content of {campaign}"):
            return item_names(self._root, campaign)

    def installed_version(self, campaign: str) -> ManifestVersion | None:
        """The version of the campaign that was last whole here."""
        with (
            translate_disk_errors(f"state of {campaign}"),
            open_if_present(self._root, LOADER_DIR, "campaigns") as folder,
        ):
            state = read_state(folder, f"{campaign}.json") if folder else {}
        digest, version = state.get("manifest"), state.get("version")
        return (
            ManifestVersion(digest, version if isinstance(version, int) else None) if isinstance(digest, str) else None
        )

    def held_campaigns(self) -> list[HeldCampaign]:
        """The campaigns that are whole here."""
        with translate_disk_errors("states of campaigns"):
            return [
                to_held_campaign(campaign, mark)
                for campaign, mark in campaign_records(self._root).items()
                if is_complete(mark)
            ]

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
        """Give a whole part its final name, or put it beside the version that is still in use."""
        name = part.item.name + TGZ
        etag, digest = part.etag, part.sha256
        with contextlib.ExitStack() as stack, translate_disk_errors(f"{campaign}/{name}"):
            place = (LOADER_DIR, "beside", campaign) if staged else (campaign,)
            target = stack.enter_context(self._root.make_subdirectory(*place))
            states = stack.enter_context(
                self._root.make_subdirectory(LOADER_DIR, "beside" if staged else "held", campaign)
            )

            def note(status: os.stat_result) -> None:
                # Before the name, so that whoever finds the file knows what it is. Were it lost or torn in a power cut,
                # the file would be read again, not fetched.
                checked = _item_record(status, digest, etag, manifest_version)
                write_state(states, name + ".json", checked, durability="nothing")
                failpoint("held-written")

            part.finish(target, name, note)
            if not staged:
                self._index.refresh(states, campaign, part.item.name)
            part.remove_state()

    def link_duplicate(self, campaign: str, item: Item, manifest_version: ManifestVersion, *, staged: bool) -> bool:
        """Give the same content, whole here under another name, this item's name too; durable.

        False if that turned out not to be possible: the item is then to be fetched.
        """
        name = item.name + TGZ
        with translate_disk_errors(f"{campaign}/{name}"):
            with self._root.make_subdirectory(LOADER_DIR, PARTS_DIR, campaign) as parts:
                made = self._index.link_duplicate(campaign, item, parts)
                if made is None:
                    return False
                failpoint("link-made")
                temporary, checked = made
                with (
                    self._root.make_subdirectory(LOADER_DIR, STAGED_DIR, campaign)
                    if staged
                    else self._root.make_subdirectory(campaign) as target
                ):
                    parts.move(temporary, target, name)
                    target.fsync()
                # A name that is moved over another one of the same file stays where it was.
                parts.remove(temporary)
                failpoint("linked")
                with self._root.make_subdirectory(LOADER_DIR, STAGED_DIR if staged else HELD_DIR, campaign) as states:
                    write_state(states, name + ".json", _linked_record(checked, manifest_version), durability="bytes")
                    if not staged:
                        self._index.refresh(states, campaign, item.name)
                for ending in (".part", ".json"):
                    parts.remove(name + ending)
            return True

    def verify(
        self, campaign: str, item: Item, etag: str, manifest_version: ManifestVersion, stop: threading.Event
    ) -> bool:
        """Read a file of the right size that nothing is known about; note it if it is right. Raises Stopped."""
        name = item.name + TGZ
        with translate_disk_errors(f"{campaign}/{name}"), open_if_present(self._root, campaign) as folder:
            if folder is None:
                return False
            descriptor = folder.open_file(name, os.O_RDONLY, shared=True)
            with os.fdopen(descriptor, "rb", buffering=0) as stream:
                digest = _sha256(stream.readinto, stop)
                os.fsync(descriptor)
                status = os.fstat(descriptor)
            if status.st_size != item.size or (item.sha256 is not None and digest != item.sha256):
                return False
            folder.fsync()
            with self._root.make_subdirectory(LOADER_DIR, "held", campaign) as held:
                write_state(held, name + ".json", _item_record(status, digest, etag, manifest_version))
                self._index.refresh(held, campaign, item.name)
        return True

    # A campaign as a whole.

    def activate_staged(self, campaign: str, items: Collection[Item]) -> None:
        """Give every item that waits beside its final name. A kill in between is made good by calling it again."""
        with (
            translate_disk_errors(f"switch of {campaign}"),
            open_if_present(self._root, LOADER_DIR, "beside", campaign) as beside,
        ):
            if beside is None:
                return
            failpoint("switch-begun")
            with (
                self._root.make_subdirectory(campaign) as folder,
                self._root.make_subdirectory(LOADER_DIR, "held", campaign) as held,
            ):
                for name in (item.name + TGZ for item in items):
                    if beside.stat_file(name) is not None:
                        _activate_item(name, beside, folder, held)
            for name in beside.list_names():
                beside.remove(name)
            with self._root.make_subdirectory(LOADER_DIR, "beside") as above:
                above.remove_if_empty(campaign)
            self._index.invalidate(campaign)
            failpoint("switch-done")

    def mark_complete(
        self,
        campaign: str,
        items: Collection[Item],
        manifest_version: ManifestVersion,
        *,
        exhibition: Exhibition | None = None,
        title: str = "",
    ) -> None:
        """The campaign is whole: remove what its new version no longer lists or has elsewhere, then say so durably.

        `items` are all of its items. Its days are kept, so that it is known when it has ended without its manifest.
        """
        days = exhibition or Exhibition()
        mark = {
            "manifest": manifest_version.digest,
            "version": manifest_version.version,
            "items": len(items),
            "bytes": sum(item.size for item in items),
            "verified": all(item.sha256 is not None for item in items),
            "starts": days.starts.isoformat() if days.starts else None,
            "ends": days.ends.isoformat() if days.ends else None,
            "title": title,
        }
        with (
            translate_disk_errors(f"state of {campaign}"),
            self._root.make_subdirectory(LOADER_DIR, CAMPAIGNS_DIR) as folder,
        ):
            if {**read_state(folder, f"{campaign}.json"), "schema": 1} != {"schema": 1, **mark}:
                self._remove_unlisted(campaign, {item.name: item for item in items})
                write_state(folder, f"{campaign}.json", mark)

    def _remove_unlisted(self, campaign: str, items: Mapping[str, Item]) -> None:
        """Remove what is of no more use. Only what we put there; other people's files stay."""
        with (
            open_if_present(self._root, LOADER_DIR, HELD_DIR, campaign) as held,
            open_if_present(self._root, campaign) as finals,
        ):
            for name in installed_names(held) if held and finals else []:
                item = items.get(name.removesuffix(TGZ))
                checked = self._index.record(held, campaign, name.removesuffix(TGZ)) if held else None
                # Listed, but of an older version: the wanted one is in another content directory.
                if held and finals and (item is None or (checked is not None and not checked.matches_item(item))):
                    finals.remove(name)
                    held.remove(name + ".json")
        self._index.invalidate(campaign)
        self.remove_stale_partials(campaign, [])

    def mark_incomplete(self, campaign: str) -> None:
        """It is not whole any more, in any version; its days stay known."""
        with translate_disk_errors(f"state of {campaign}"):
            mark_incomplete(self._root, campaign)

    def purge(self, campaign: str, contents: Collection[str] | None) -> int:
        """Remove a campaign, or only these of its items, durably; None is all of it. Returns the bytes freed.

        No item of it may be under way. Only files under names that the loader gave are touched; links that others
        planted are not followed. A kill in between is made good by calling it again.
        """
        with translate_disk_errors(f"purge of {campaign}"):
            try:
                return purge(self._root, campaign, contents)
            finally:
                self._index.invalidate(campaign)

    def remove_stale_partials(self, campaign: str, items: Collection[Item]) -> None:
        """Remove parts of items that the campaign no longer lists, and the folder of parts once it is empty."""
        listed = {item.name + TGZ + ending for item in items for ending in (".part", ".json")}
        with translate_disk_errors(f"parts of {campaign}"):
            with open_if_present(self._root, LOADER_DIR, "parts", campaign) as folder:
                for name in folder.list_names() if folder else []:
                    if folder and name not in listed:
                        folder.remove(name)
            with open_if_present(self._root, LOADER_DIR, "parts") as parts:
                if parts:
                    parts.remove_if_empty(campaign)

    # What the status bucket was last told.

    def load_report_cache(self) -> Mapping[str, object]:
        """The record of an orderly end; it is removed, so that after a kill there is none."""
        with translate_disk_errors("record of reports"), open_if_present(self._root, LOADER_DIR) as folder:
            body = folder.read("status.json", _REPORT_CACHE_LIMIT) if folder else None
            if folder:
                folder.remove("status.json")
        try:
            record = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}

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
        with translate_disk_errors(f"note {name}"), open_if_present(self._root, LOADER_DIR) as folder:
            file = f"{name}.json"
            body = folder.read(file, limit) if folder else None
            if folder is None or (body is None and file not in folder.list_names()):
                return {}
            try:
                note = json.loads(body or b"")
            except (ValueError, RecursionError):
                note = None
            if not isinstance(note, dict):
                raise WorldError(Code.IO_ERROR, f"{LOADER_DIR}/{file} is there, but is not what was written")
            return note

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


def _linked_record(record: ItemRecord, manifest_version: ManifestVersion) -> dict[str, object]:
    # The object this item would have come from was not looked at: it has no ETag here.
    return {**asdict(record), "etag": "", "version": manifest_version.version, "manifest": manifest_version.digest}


def _item_record(
    status: os.stat_result, digest: str, etag: str, manifest_version: ManifestVersion
) -> dict[str, object]:
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest,
        "etag": etag,
        "version": manifest_version.version,
        "manifest": manifest_version.digest,
    }


def _activate_item(name: str, staged: Directory, folder: Directory, held: Directory) -> None:
    state = read_state(staged, name + ".json")
    # Before the name: without it nothing would tell after a kill that the new one is there, and it would be fetched.
    write_state(
        held, name + ".json", {field: value for field, value in state.items() if field != "schema"}, durability="bytes"
    )
    staged.move(name, folder, name)
    failpoint("switch-halfway")
    folder.fsync()


def _sha256(readinto: Callable[[memoryview], int], stop: threading.Event) -> str:
    checksum, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count := readinto(buffer):
        if stop.is_set():
            raise Stopped
        checksum.update(buffer[:count])
    return checksum.hexdigest()
