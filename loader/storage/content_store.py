"""One content directory: where things lie, who may write, what is whole, what is begun, how a new version takes over.

    DIR/<campaign>/<content>.tgz                    whole, checked, durable
    DIR/.loader/held/<campaign>/<content>.tgz.json  what was checked of it DIR/.loader/parts/<campaign>/ what is on its
    way (`loader.storage.partial_file`) DIR/.loader/beside/<campaign>/                  a new version, waiting to be
    whole DIR/.loader/campaigns/<campaign>.json           the version that is whole DIR/.loader/status.json what the
    status bucket was last told (`loader.reporting.reporter`) DIR/.loader/id its lasting random name
    DIR/.loader/lease.json which heartbeats are ours (`loader.reporting.lease`) DIR/.loader/queue.json
    the transfer queue in force (`loader.media.queue_reader`) DIR/.loader/told/<campaign>/                    for what
    the operator's command was run (`loader.hooks.ledger`) DIR/.loader/loader.sock                         the door for
    programs aboard (`loader.local_api.server`) DIR/.loader/trust.json which signed manifests were accepted
    (`loader.media.manifest_verifier`)

The lock is on DIR itself and dies with the process. Names must have been checked. Raises WorldError.
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
from loader.errors import Stopped, WorldError
from loader.failpoints import failpoint
from loader.storage.campaigns import aboard, as_held, contents, given_names, is_whole, marks, purge, unmark
from loader.storage.directory import Folder, Lasting, existing, on_disk
from loader.storage.inventory import Aboard, Edition, Found
from loader.storage.item_index import Checked, Hold
from loader.storage.layout import BESIDE, HELD, MARKS, OURS, PARTS
from loader.storage.partial_file import Part
from loader.storage.state_files import STATE_LIMIT, read_state, write_state

_BLOCK: Final = 1024 * 1024
_RECORD_LIMIT: Final = 64 * 1024 * 1024
_IDENTITY: Final = re.compile(r"[0-9a-f]{32}")


class Store:
    """A content directory, open and, after `lock`, ours. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises WorldError."""
        self.path = path
        with on_disk(f"content directory {path}"):
            self._root = Folder.open(path)
        self._hold = Hold(self._root)

    def lock(self) -> bool:
        """False if another loader holds it; nothing was touched then. Raises WorldError."""
        with on_disk(f"content directory {self.path}"):
            return self._root.lock()

    def close(self) -> None:
        """Release it."""
        self._root.close()

    def space(self) -> StoreUsage:
        """Its size and what may still be taken, in bytes."""
        with on_disk("free space"):
            total, free = self._root.space()
        return StoreUsage(str(self.path), total, free)

    @property
    def device(self) -> int:
        """Which disk it lies on: two directories with the same number share one room."""
        with on_disk(f"content directory {self.path}"):
            return os.fstat(self._root.descriptor).st_dev

    # What is there.

    def find(self, campaign: str, item: Item, etag: str = "") -> Found:
        """What it has of an item. `etag`: of the object in the bucket now, where that is known."""
        return self.find_all(campaign, [item], {item.name: etag})[item.name]

    def find_all(self, campaign: str, items: Iterable[Item], etags: Mapping[str, str]) -> dict[str, Found]:
        """What it has of a campaign's items, by name, in one pass. `etags`: of the objects in the bucket, by name."""
        with on_disk(f"content of {campaign}"), contextlib.ExitStack() as stack:
            places = ((campaign,), (OURS, HELD, campaign), (OURS, BESIDE, campaign), (OURS, PARTS, campaign))
            finals, held, beside, parts = (stack.enter_context(existing(self._root, *place)) for place in places)

            def found(item: Item) -> Found:
                etag = etags.get(item.name, "")
                final = self._final(campaign, item, etag, finals, held)
                if final == "whole":
                    return Found(final)
                waits = beside is not None and _waits(beside, item, etag)
                part = Part.trusted(parts, item) if parts else 0
                return Found(final, waits, part, not waits and self._hold.linkable(campaign, item))

            return {item.name: found(item) for item in items}

    def _final(self, campaign: str, item: Item, etag: str, finals: Folder | None, held: Folder | None) -> str:
        status = finals.plain(item.name + TGZ) if finals else None
        if status is None:
            return "absent"
        checked = self._hold.state(held, campaign, item.name) if held else None
        if checked is None or not checked.is_of(status):
            return "unchecked" if status.st_size == item.size else "other"
        return "whole" if checked.fits(item, etag) else "other"

    def aboard(self) -> list[Aboard]:
        """Every campaign of which something lies here; `bytes` has one element."""
        with on_disk("campaigns aboard"):
            return aboard(self._root)

    def contents(self, campaign: str) -> set[str]:
        """The items of a campaign of which something lies here."""
        with on_disk(f"content of {campaign}"):
            return contents(self._root, campaign)

    def edition(self, campaign: str) -> Edition | None:
        """The version of the campaign that was last whole here."""
        with on_disk(f"state of {campaign}"), existing(self._root, OURS, "campaigns") as folder:
            state = read_state(folder, f"{campaign}.json") if folder else {}
        digest, version = state.get("manifest"), state.get("version")
        return Edition(digest, version if isinstance(version, int) else None) if isinstance(digest, str) else None

    def held(self) -> list[HeldCampaign]:
        """The campaigns that are whole here."""
        with on_disk("states of campaigns"):
            return [as_held(campaign, mark) for campaign, mark in marks(self._root).items() if is_whole(mark)]

    # Getting there.

    @contextlib.contextmanager
    def part(self, campaign: str, item: Item, edition: Edition) -> Iterator[Part]:
        """The unfinished item, taken up or new; call its `resume` first."""
        with on_disk(f"{campaign}/{item.name}{TGZ}"):
            folder = self._root.sub(OURS, "parts", campaign)
        with folder:
            part = Part(folder, item, edition.version)
            try:
                yield part
            finally:
                part.close()

    def finish(self, campaign: str, part: Part, edition: Edition, *, beside: bool) -> None:
        """Give a whole part its final name, or put it beside the version that is still in use."""
        name = part.item.name + TGZ
        etag, digest = part.etag, part.sha256
        with contextlib.ExitStack() as stack, on_disk(f"{campaign}/{name}"):
            place = (OURS, "beside", campaign) if beside else (campaign,)
            target = stack.enter_context(self._root.sub(*place))
            states = stack.enter_context(self._root.sub(OURS, "beside" if beside else "held", campaign))

            def note(status: os.stat_result) -> None:
                # Before the name, so that whoever finds the file knows what it is. Were it lost or torn in a power cut,
                # the file would be read again, not fetched.
                checked = _checked(status, digest, etag, edition)
                write_state(states, name + ".json", checked, lasting="nothing")
                failpoint("held-written")

            part.finish(target, name, note)
            if not beside:
                self._hold.note(states, campaign, part.item.name)
            part.forget()

    def link(self, campaign: str, item: Item, edition: Edition, *, beside: bool) -> bool:
        """Give the same content, whole here under another name, this item's name too; durable.

        False if that turned out not to be possible: the item is then to be fetched.
        """
        name = item.name + TGZ
        with on_disk(f"{campaign}/{name}"):
            with self._root.sub(OURS, PARTS, campaign) as parts:
                made = self._hold.link(campaign, item, parts)
                if made is None:
                    return False
                failpoint("link-made")
                temporary, checked = made
                with self._root.sub(OURS, BESIDE, campaign) if beside else self._root.sub(campaign) as target:
                    parts.move(temporary, target, name)
                    target.sync()
                # A name that is moved over another one of the same file stays where it was.
                parts.remove(temporary)
                failpoint("linked")
                with self._root.sub(OURS, BESIDE if beside else HELD, campaign) as states:
                    write_state(states, name + ".json", _linked(checked, edition), lasting="bytes")
                    if not beside:
                        self._hold.note(states, campaign, item.name)
                for ending in (".part", ".json"):
                    parts.remove(name + ending)
            return True

    def verify(self, campaign: str, item: Item, etag: str, edition: Edition, stop: threading.Event) -> bool:
        """Read a file of the right size that nothing is known about; note it if it is right. Raises Stopped."""
        name = item.name + TGZ
        with on_disk(f"{campaign}/{name}"), existing(self._root, campaign) as folder:
            if folder is None:
                return False
            descriptor = folder.file(name, os.O_RDONLY, shared=True)
            with os.fdopen(descriptor, "rb", buffering=0) as stream:
                digest = _digest(stream.readinto, stop)
                os.fsync(descriptor)
                status = os.fstat(descriptor)
            if status.st_size != item.size or (item.sha256 is not None and digest != item.sha256):
                return False
            folder.sync()
            with self._root.sub(OURS, "held", campaign) as held:
                write_state(held, name + ".json", _checked(status, digest, etag, edition))
                self._hold.note(held, campaign, item.name)
        return True

    # A campaign as a whole.

    def switch(self, campaign: str, items: Collection[Item]) -> None:
        """Give every item that waits beside its final name. A kill in between is made good by calling it again."""
        with on_disk(f"switch of {campaign}"), existing(self._root, OURS, "beside", campaign) as beside:
            if beside is None:
                return
            failpoint("switch-begun")
            with self._root.sub(campaign) as folder, self._root.sub(OURS, "held", campaign) as held:
                for name in (item.name + TGZ for item in items):
                    if beside.plain(name) is not None:
                        _take_over(name, beside, folder, held)
            for name in beside.names():
                beside.remove(name)
            with self._root.sub(OURS, "beside") as above:
                above.discard(campaign)
            self._hold.forget(campaign)
            failpoint("switch-done")

    def settle(
        self,
        campaign: str,
        items: Collection[Item],
        edition: Edition,
        *,
        exhibition: Exhibition | None = None,
        title: str = "",
    ) -> None:
        """The campaign is whole: remove what its new version no longer lists or has elsewhere, then say so durably.

        `items` are all of its items. Its days are kept, so that it is known when it has ended without its manifest.
        """
        days = exhibition or Exhibition()
        mark = {
            "manifest": edition.digest,
            "version": edition.version,
            "items": len(items),
            "bytes": sum(item.size for item in items),
            "verified": all(item.sha256 is not None for item in items),
            "starts": days.starts.isoformat() if days.starts else None,
            "ends": days.ends.isoformat() if days.ends else None,
            "title": title,
        }
        with on_disk(f"state of {campaign}"), self._root.sub(OURS, MARKS) as folder:
            if {**read_state(folder, f"{campaign}.json"), "schema": 1} != {"schema": 1, **mark}:
                self._clear(campaign, {item.name: item for item in items})
                write_state(folder, f"{campaign}.json", mark)

    def _clear(self, campaign: str, items: Mapping[str, Item]) -> None:
        """Remove what is of no more use. Only what we put there; other people's files stay."""
        with existing(self._root, OURS, HELD, campaign) as held, existing(self._root, campaign) as finals:
            for name in given_names(held) if held and finals else []:
                item = items.get(name.removesuffix(TGZ))
                checked = self._hold.state(held, campaign, name.removesuffix(TGZ)) if held else None
                # Listed, but of an older version: the wanted one is in another content directory.
                if held and finals and (item is None or (checked is not None and not checked.fits(item))):
                    finals.remove(name)
                    held.remove(name + ".json")
        self._hold.forget(campaign)
        self.tidy(campaign, [])

    def unsettle(self, campaign: str) -> None:
        """It is not whole any more, in any version; its days stay known."""
        with on_disk(f"state of {campaign}"):
            unmark(self._root, campaign)

    def purge(self, campaign: str, contents: Collection[str] | None) -> int:
        """Remove a campaign, or only these of its items, durably; None is all of it. Returns the bytes freed.

        No item of it may be under way. Only files under names that the loader gave are touched; links that others
        planted are not followed. A kill in between is made good by calling it again.
        """
        with on_disk(f"purge of {campaign}"):
            try:
                return purge(self._root, campaign, contents)
            finally:
                self._hold.forget(campaign)

    def tidy(self, campaign: str, items: Collection[Item]) -> None:
        """Remove parts of items that the campaign no longer lists, and the folder of parts once it is empty."""
        listed = {item.name + TGZ + ending for item in items for ending in (".part", ".json")}
        with on_disk(f"parts of {campaign}"):
            with existing(self._root, OURS, "parts", campaign) as folder:
                for name in folder.names() if folder else []:
                    if folder and name not in listed:
                        folder.remove(name)
            with existing(self._root, OURS, "parts") as parts:
                if parts:
                    parts.discard(campaign)

    # What the status bucket was last told.

    def take_record(self) -> Mapping[str, object]:
        """The record of an orderly end; it is removed, so that after a kill there is none."""
        with on_disk("record of reports"), existing(self._root, OURS) as folder:
            body = folder.read("status.json", _RECORD_LIMIT) if folder else None
            if folder:
                folder.remove("status.json")
        try:
            record = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}

    def keep_record(self, record: Mapping[str, object]) -> None:
        """Leave a record for the next run."""
        with on_disk("record of reports"), self._root.sub(OURS) as folder:
            folder.write("status.json", json.dumps(record, ensure_ascii=False).encode(), lasting="nothing")

    # Who this is.

    def identity(self) -> str:
        """Its lasting random name, 32 hexadecimal digits; made durably when first asked for."""
        with on_disk("identity"), self._root.sub(OURS) as folder:
            found = (folder.read("id", 64) or b"").decode(errors="replace").strip()
            if not _IDENTITY.fullmatch(found):
                found = secrets.token_hex(16)
                folder.write("id", found.encode() + b"\n")
        return found

    def read_note(self, name: str, limit: int = STATE_LIMIT) -> Mapping[str, object]:
        """The note that was left under this name, empty where there is none. Raises WorldError if it cannot be read."""
        with on_disk(f"note {name}"), existing(self._root, OURS) as folder:
            file = f"{name}.json"
            body = folder.read(file, limit) if folder else None
            if folder is None or (body is None and file not in folder.names()):
                return {}
            try:
                note = json.loads(body or b"")
            except (ValueError, RecursionError):
                note = None
            if not isinstance(note, dict):
                raise WorldError("IO_ERROR", f"{OURS}/{file} is there, but is not what was written")
            return note

    def write_note(self, name: str, note: Mapping[str, object], *, lasting: Lasting = "name") -> None:
        """Keep a note for this and the next run, in one step."""
        with on_disk(f"note {name}"), self._root.sub(OURS) as folder:
            write_state(folder, f"{name}.json", note, lasting=lasting)


def _waits(beside: Folder, item: Item, etag: str) -> bool:
    status = beside.plain(item.name + TGZ)
    checked = Checked.of(read_state(beside, f"{item.name}{TGZ}.json")) if status else None
    return status is not None and checked is not None and checked.is_of(status) and checked.fits(item, etag)


def _linked(checked: Checked, edition: Edition) -> dict[str, object]:
    # The object this item would have come from was not looked at: it has no ETag here.
    return {**asdict(checked), "etag": "", "version": edition.version, "manifest": edition.digest}


def _checked(status: os.stat_result, digest: str, etag: str, edition: Edition) -> dict[str, object]:
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest,
        "etag": etag,
        "version": edition.version,
        "manifest": edition.digest,
    }


def _take_over(name: str, beside: Folder, folder: Folder, held: Folder) -> None:
    state = read_state(beside, name + ".json")
    # Before the name: without it nothing would tell after a kill that the new one is there, and it would be fetched.
    write_state(
        held, name + ".json", {field: value for field, value in state.items() if field != "schema"}, lasting="bytes"
    )
    beside.move(name, folder, name)
    failpoint("switch-halfway")
    folder.sync()


def _digest(readinto: Callable[[memoryview], int], stop: threading.Event) -> str:
    checksum, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count := readinto(buffer):
        if stop.is_set():
            raise Stopped
        checksum.update(buffer[:count])
    return checksum.hexdigest()
