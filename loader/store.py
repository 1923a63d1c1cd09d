"""One content directory: where things lie, who may write, what is whole, what is begun, how a new version takes over.

    DIR/<campaign>/<content>.tgz                    whole, checked, durable
    DIR/.loader/held/<campaign>/<content>.tgz.json  what was checked of it
    DIR/.loader/parts/<campaign>/                   what is on its way (`loader.part`)
    DIR/.loader/beside/<campaign>/                  a new version, waiting to be whole
    DIR/.loader/campaigns/<campaign>.json           the version that is whole
    DIR/.loader/status.json                         what the status bucket was last told (`loader.status`)
    DIR/.loader/id                                  its lasting random name
    DIR/.loader/lease.json                          which heartbeats are ours (`loader.lease`)
    DIR/.loader/trust.json                          which signed manifests were accepted (`loader.trust`)

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
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.contract import TGZ, Held, Item, StoreReport
from loader.crash import crash_point
from loader.errors import WorldError
from loader.folder import Folder, Lasting, on_disk
from loader.pace import Stopped
from loader.part import STATE_LIMIT, Part, read_state, write_state
from loader.plan import Found

OURS: Final = ".loader"
_BLOCK: Final = 1024 * 1024
_RECORD_LIMIT: Final = 64 * 1024 * 1024
_IDENTITY: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Edition:
    """What a campaign is: its manifest's version (if it has one) and the SHA-256 of the manifest."""

    digest: str
    version: int | None = None


class Store:
    """A content directory, open and, after `lock`, ours. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises WorldError."""
        self.path = path
        with on_disk(f"content directory {path}"):
            self._root = Folder.open(path)

    def lock(self) -> bool:
        """False if another loader holds it; nothing was touched then. Raises WorldError."""
        with on_disk(f"content directory {self.path}"):
            return self._root.lock()

    def close(self) -> None:
        """Release it."""
        self._root.close()

    def space(self) -> StoreReport:
        """Its size and what may still be taken, in bytes."""
        with on_disk("free space"):
            total, free = self._root.space()
        return StoreReport(str(self.path), total, free)

    @property
    def device(self) -> int:
        """Which disk it lies on: two directories with the same number share one room."""
        with on_disk(f"content directory {self.path}"):
            return os.fstat(self._root.descriptor).st_dev

    # What is there.

    def find(self, campaign: str, item: Item, etag: str = "") -> Found:
        """What it has of an item. `etag`: of the object in the bucket now, where that is known."""
        with on_disk(f"{campaign}/{item.name}{TGZ}"):
            return Found(
                final=self._final(campaign, item, etag),
                beside=self._beside(campaign, item, etag),
                part=self._part_size(campaign, item),
            )

    def _final(self, campaign: str, item: Item, etag: str) -> str:
        with self._existing(campaign) as folder, self._existing(OURS, "held", campaign) as held:
            status = folder.plain(item.name + TGZ) if folder else None
            if status is None:
                return "absent"
            state = read_state(held, f"{item.name}{TGZ}.json") if held else {}
        if (state.get("size"), state.get("mtime_ns")) != (status.st_size, status.st_mtime_ns):
            return "unchecked" if status.st_size == item.size else "other"
        return "whole" if _fits(state, item, etag) else "other"

    def _beside(self, campaign: str, item: Item, etag: str) -> bool:
        with self._existing(OURS, "beside", campaign) as folder:
            status = folder.plain(item.name + TGZ) if folder else None
            if folder is None or status is None:
                return False
            state = read_state(folder, f"{item.name}{TGZ}.json")
        return state.get("mtime_ns") == status.st_mtime_ns and _fits(state, item, etag)

    def _part_size(self, campaign: str, item: Item) -> int:
        with self._existing(OURS, "parts", campaign) as folder:
            return Part.trusted(folder, item) if folder else 0

    def edition(self, campaign: str) -> Edition | None:
        """The version of the campaign that was last whole here."""
        with on_disk(f"state of {campaign}"), self._existing(OURS, "campaigns") as folder:
            state = read_state(folder, f"{campaign}.json") if folder else {}
        digest, version = state.get("manifest"), state.get("version")
        return Edition(digest, version if isinstance(version, int) else None) if isinstance(digest, str) else None

    def held(self) -> list[Held]:
        """The campaigns that are whole here."""
        with on_disk("states of campaigns"), self._existing(OURS, "campaigns") as folder:
            names = [name for name in folder.names() if name.endswith(".json")] if folder else []
            states = [(name.removesuffix(".json"), read_state(folder, name)) for name in names] if folder else []
        return [_held(campaign, state) for campaign, state in states if state]

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
        with on_disk(f"{campaign}/{name}"):
            target = self._root.sub(OURS, "beside", campaign) if beside else self._root.sub(campaign)
            with target:
                status = part.finish(target, name)
            with self._root.sub(OURS, "beside" if beside else "held", campaign) as states:
                checked = _checked(status, digest, etag, edition)
                # Were it lost in a power cut, the file would be read again, not fetched.
                write_state(states, name + ".json", checked, lasting="bytes")
            crash_point("held-written")
            part.forget()

    def verify(self, campaign: str, item: Item, etag: str, edition: Edition, stop: threading.Event) -> bool:
        """Read a file of the right size that nothing is known about; note it if it is right. Raises Stopped."""
        name = item.name + TGZ
        with on_disk(f"{campaign}/{name}"), self._existing(campaign) as folder:
            if folder is None:
                return False
            descriptor = folder.file(name, os.O_RDONLY)
            with os.fdopen(descriptor, "rb", buffering=0) as stream:
                digest = _digest(stream.readinto, stop)
                os.fsync(descriptor)
                status = os.fstat(descriptor)
            if status.st_size != item.size or (item.sha256 is not None and digest != item.sha256):
                return False
            folder.sync()
            with self._root.sub(OURS, "held", campaign) as held:
                write_state(held, name + ".json", _checked(status, digest, etag, edition))
        return True

    # A campaign as a whole.

    def switch(self, campaign: str, items: Collection[Item]) -> None:
        """Give every item that waits beside its final name. A kill in between is made good by calling it again."""
        with on_disk(f"switch of {campaign}"), self._existing(OURS, "beside", campaign) as beside:
            if beside is None:
                return
            crash_point("switch-begun")
            with self._root.sub(campaign) as folder, self._root.sub(OURS, "held", campaign) as held:
                for name in (item.name + TGZ for item in items):
                    if beside.plain(name) is not None:
                        _take_over(name, beside, folder, held)
            for name in beside.names():
                beside.remove(name)
            with self._root.sub(OURS, "beside") as above:
                above.discard(campaign)
            crash_point("switch-done")

    def settle(self, campaign: str, items: Collection[Item], edition: Edition) -> None:
        """The campaign is whole: remove what its new version no longer lists, then say so durably."""
        listed = {item.name + TGZ for item in items}
        with on_disk(f"state of {campaign}"):
            with self._existing(OURS, "held", campaign) as held, self._existing(campaign) as folder:
                # Only what we put there; other people's files stay.
                for state in held.names() if held and folder else []:
                    name = state.removesuffix(".json")
                    if held and folder and name not in listed:
                        folder.remove(name)
                        held.remove(state)
            mark = {
                "manifest": edition.digest,
                "version": edition.version,
                "items": len(items),
                "bytes": sum(item.size for item in items),
                "verified": all(item.sha256 is not None for item in items),
            }
            with self._root.sub(OURS, "campaigns") as folder:
                if {**read_state(folder, f"{campaign}.json"), "schema": 1} != {"schema": 1, **mark}:
                    write_state(folder, f"{campaign}.json", mark)

    def tidy(self, campaign: str, items: Collection[Item]) -> None:
        """Remove parts of items that the campaign no longer lists, and the folder of parts once it is empty."""
        listed = {item.name + TGZ + ending for item in items for ending in (".part", ".json")}
        with on_disk(f"parts of {campaign}"):
            with self._existing(OURS, "parts", campaign) as folder:
                for name in folder.names() if folder else []:
                    if folder and name not in listed:
                        folder.remove(name)
            with self._existing(OURS, "parts") as parts:
                if parts:
                    parts.discard(campaign)

    # What the status bucket was last told.

    def take_record(self) -> Mapping[str, object]:
        """The record of an orderly end; it is removed, so that after a kill there is none."""
        with on_disk("record of reports"), self._existing(OURS) as folder:
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
        with on_disk(f"note {name}"), self._existing(OURS) as folder:
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

    @contextlib.contextmanager
    def _existing(self, *names: str) -> Iterator[Folder | None]:
        folder = self._root.existing(*names)
        try:
            yield folder
        finally:
            if folder is not None:
                folder.close()


def _fits(state: Mapping[str, object], item: Item, etag: str) -> bool:
    """Whether what was checked is what the manifest now wants. Without a hash, the object must still be the same."""
    if state.get("size") != item.size:
        return False
    if item.sha256 is not None:
        return state.get("sha256") == item.sha256
    return not etag or state.get("etag") in (etag, "")


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
    beside.move(name, folder, name)
    crash_point("switch-halfway")
    folder.sync()
    write_state(
        held, name + ".json", {field: value for field, value in state.items() if field != "schema"}, lasting="bytes"
    )


def _digest(readinto: Callable[[memoryview], int], stop: threading.Event) -> str:
    checksum, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count := readinto(buffer):
        if stop.is_set():
            raise Stopped
        checksum.update(buffer[:count])
    return checksum.hexdigest()


def _held(campaign: str, state: Mapping[str, object]) -> Held:
    items, size = state.get("items"), state.get("bytes")
    return Held(
        campaign,
        items if isinstance(items, int) else None,
        size if isinstance(size, int) else None,
        state.get("verified") is True,
    )
