"""Index of verified items by name and by content, so that duplicates are linked, not downloaded.

The records `DIR/.loader/held/<campaign>/<content>.tgz.json` are the source of truth. They are cached together with the
inode, time and size of the record's file, so that checking 10,000 items costs two stat(2) calls each. An item is never
trusted without a stat(2) of its file. Touches only the directory it is given. Methods may be called from any thread and
raise OSError.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.frozen import frozen
from loader.storage.directory import Directory
from loader.storage.layout import HELD_DIR, LINK_SUFFIX, LOADER_DIR
from loader.storage.state_files import read_state

_JSON: Final = ".json"
# The file system has no hard links, or refuses this one (see link(2)): the item is then downloaded.
_LINK_REFUSED: Final = frozenset(
    {
        errno.EMLINK,
        errno.EXDEV,
        errno.EPERM,
        errno.EACCES,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EINVAL,
        errno.ENOENT,
        errno.ELOOP,
    }
)
_Content = tuple[str, int]  # SHA-256, size
_Location = tuple[str, str]  # campaign, content


@frozen
class ItemRecord:
    """What was verified of an installed file.

    `etag`: of the object it was downloaded from, as the listing had it before the download; if it was not listed, as
    the response had it. Empty if unknown.
    """

    size: int
    mtime_ns: int
    sha256: str
    etag: str

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> ItemRecord | None:
        """Return None for a record that is torn or foreign."""
        size, mtime, digest, etag = (state.get(field) for field in ("size", "mtime_ns", "sha256", "etag"))
        if type(size) is not int or type(mtime) is not int or not isinstance(digest, str):
            return None
        return cls(size, mtime, digest, etag if isinstance(etag, str) else "")

    def matches_file(self, status: os.stat_result) -> bool:
        """Return whether the file has not been written to since it was verified."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)

    def matches_item(self, item: Item, etag: str = "") -> bool:
        """Return whether the file is the item of the manifest. Without a hash, the listed ETag must be the same."""
        if self.size != item.size:
            return False
        if item.sha256 is not None:
            return self.sha256 == item.sha256
        return not etag or self.etag in (etag, "")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


class ItemIndex:
    """The records of one content directory."""

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._cache: dict[_Location, tuple[tuple[int, int, int], ItemRecord | None]] = {}
        self._locations: dict[_Content, set[_Location]] | None = None
        self._unlinkable: set[_Content] = set()
        self._lock = threading.Lock()

    def record(self, records: Directory, campaign: str, content: str) -> ItemRecord | None:
        """Return the record of an item; `records`: the directory of the campaign's records."""
        status, location = records.stat_file(content + TGZ + _JSON), (campaign, content)
        if status is None:
            return None
        identity, cached = _identity(status), self._cache.get(location)
        if cached is None or cached[0] != identity:
            cached = (identity, ItemRecord.from_json(read_state(records, content + TGZ + _JSON)))
            with self._lock:
                self._cache[location] = cached
                self._add_to_index(location, cached[1])
        return cached[1]

    def add(self, records: Directory, campaign: str, content: str, record: ItemRecord) -> None:
        """Add a record that was just written to the directory `records`."""
        status, location = records.stat_file(content + TGZ + _JSON), (campaign, content)
        if status is not None:
            with self._lock:
                self._cache[location] = (_identity(status), record)
                self._add_to_index(location, record)

    def invalidate(self, campaign: str) -> None:
        """Forget the records of a campaign: some were written or removed."""
        with self._lock:
            for location in [location for location in self._cache if location[0] == campaign]:
                del self._cache[location]
            # Stale locations would do no harm, because `_duplicates` checks each; new ones would be missing.
            self._locations = None

    def _add_to_index(self, location: _Location, record: ItemRecord | None) -> None:
        if self._locations is not None and record is not None:
            self._locations.setdefault((record.sha256, record.size), set()).add(location)

    def _load_index(self) -> Mapping[_Content, set[_Location]]:
        # Built when an item is first missing: an aircraft that has everything never needs it.
        locations = self._locations  # read once: another thread may invalidate the index at any time
        if locations is None:
            for campaign, content, records in self._all_records():
                self.record(records, campaign, content)
            with self._lock:
                locations = self._locations = {}
                for location, (_, record) in self._cache.items():
                    self._add_to_index(location, record)
        return locations

    def _all_records(self) -> Iterator[tuple[str, str, Directory]]:
        with self._root.open_if_present(LOADER_DIR, HELD_DIR) as parent:
            for campaign in parent.list_names():
                with parent.open_if_present(campaign) as records:
                    for name in records.list_names():
                        if name.endswith(TGZ + _JSON):
                            yield campaign, name.removesuffix(TGZ + _JSON), records

    def has_duplicate(self, campaign: str, item: Item) -> bool:
        """Return whether the content of the item is complete under another name."""
        return any(True for _ in self._duplicates(campaign, item))

    def _duplicates(self, campaign: str, item: Item) -> Iterator[tuple[Directory, str, ItemRecord]]:
        if item.sha256 is None or (item.sha256, item.size) in self._unlinkable:
            return
        for source, content in sorted(self._load_index().get((item.sha256, item.size), ())):
            if (source, content) == (campaign, item.name):
                continue
            with (
                self._root.open_if_present(source) as folder,
                self._root.open_if_present(LOADER_DIR, HELD_DIR, source) as records,
            ):
                status = folder.stat_file(content + TGZ)
                record = self.record(records, source, content)
                if status and record and record.matches_file(status) and record.matches_item(item):
                    yield folder, content + TGZ, record

    def link_duplicate(self, campaign: str, item: Item, target: Directory) -> tuple[str, ItemRecord] | None:
        """Link the content of the item as `<content>.tgz.link` in `target`; return that name and the record.

        None if no link could be made. The link is not durable yet.
        """
        name = item.name + TGZ + LINK_SUFFIX
        for folder, source, record in self._duplicates(campaign, item):
            target.remove(name)
            try:
                os.link(
                    source,
                    name,
                    src_dir_fd=folder.descriptor,
                    dst_dir_fd=target.descriptor,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno not in _LINK_REFUSED:
                    raise
                if error.errno != errno.ENOENT and item.sha256 is not None:
                    self._unlinkable.add((item.sha256, item.size))
                continue
            # A race: another program may have replaced the source between the check and the link.
            status = target.stat_file(name)
            if status is not None and record.matches_file(status):
                return name, record
            target.remove(name)
        return None
