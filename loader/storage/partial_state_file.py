"""The state file next to a partial file: when it is written, and how durably.

`<content>.tgz.json` says to which object the bytes in `<content>.tgz.part` belong and which of them can be trusted
(`loader.storage.partial_state`). Touches only the directory it is given. Raises OSError.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.storage.byte_ranges import Extent
from loader.storage.directory import Directory, Durability
from loader.storage.partial_state import PartialState
from loader.storage.state_files import boot_id, read_state, write_state


class PartialStateFile:
    """The state file of one item.

    `durable_bytes`: so many bytes of the partial file survive a power cut. `last_modified`: of the object, as text.
    """

    def __init__(self, folder: Directory, item: Item, version: int | None, boot: str | None) -> None:
        self.durable_bytes = 0
        self.last_modified = ""
        self._folder, self._item, self._version = folder, item, version
        self._boot = boot_id() if boot is None else boot
        self._name = f"{item.name}{TGZ}.json"
        self._has_durable_name = False
        self._may_exist = True
        self._written_at = 0.0

    def load(self) -> tuple[PartialState | None, list[Extent]]:
        """Return the state and the extents from which a download can resume; (None, []) if it cannot."""
        item = self._item
        status = self._folder.stat_file(f"{item.name}{TGZ}.part")
        state = PartialState.from_json(read_state(self._folder, self._name)) if status else None
        if state is None or status is None or status.st_nlink > 1 or not state.etag:
            return None, []
        if (state.size, state.sha256) != (item.size, item.sha256) or status.st_size > item.size:
            return None, []
        return state, state.resumable_extents(status.st_size, self._boot)

    def resume(self, state: PartialState, contiguous_bytes: int) -> None:
        """Continue from a loaded state, of which this many bytes from the start are intact."""
        self.durable_bytes = min(state.durable, contiguous_bytes)
        self.last_modified = str(state.last_modified or "")
        self._has_durable_name = state.durable > 0

    def seconds_since_write(self) -> float:
        return time.monotonic() - self._written_at

    def write(self, etag: str, extents: tuple[Extent, ...] | None, durability: Durability) -> None:
        """Replace the state. `extents`: the bytes that are written, None for a file without gaps."""
        item = self._item
        state = PartialState(
            etag,
            item.size,
            item.sha256,
            self._version,
            self.durable_bytes,
            self._boot,
            extents,
            self.last_modified,
        )
        self._may_exist = True
        write_state(self._folder, self._name, asdict(state), durability=durability)
        self._written_at = time.monotonic()

    def write_synced(self, etag: str, extents: tuple[Extent, ...] | None, durable_bytes: int) -> None:
        """Replace the state after this many bytes from the start were synced to disk."""
        self.durable_bytes = durable_bytes
        # The directory is synced for the first such state only. If a power cut brings an older one back after that,
        # that one merely declares fewer bytes durable.
        self.write(etag, extents, "bytes" if self._has_durable_name else "name")
        self._has_durable_name = True

    def remove(self) -> None:
        if self._may_exist:
            self._folder.remove(self._name)
        self.durable_bytes, self._has_durable_name, self._may_exist = 0, False, False
