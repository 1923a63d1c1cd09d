"""Index of verified items by name and by content, so that duplicates are linked, not downloaded.

`DIR/.loader/held/<campaign>/<content>.tgz.json` is the source of truth. It is cached together with the identity of
each state file, so that checking 10,000 items costs two `stat` calls an item. A file is never trusted without a
`stat`. Touches only the directory it is given. Methods may be called from any thread; they raise OSError.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from loader.contract.manifest import Item
from loader.contract.names import TGZ
from loader.storage.directory import Directory
from loader.storage.layout import HELD_DIR, LINK_SUFFIX, LOADER_DIR
from loader.storage.state_files import read_state

_JSON: Final = ".json"
# The file system cannot, may not or will not; the content is then fetched.
_LINK_REFUSED: Final = frozenset(
    {errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, errno.ELOOP}
)
_Content = tuple[str, int]  # SHA-256, size
_Location = tuple[str, str]  # campaign, content


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """What a state says of the file beside it. `etag`: of the object it came from, empty where not known."""

    size: int
    mtime_ns: int
    sha256: str
    etag: str

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> ItemRecord | None:
        """None for a state that is torn or foreign."""
        size, mtime, digest, etag = (state.get(field) for field in cls.__slots__)
        if type(size) is not int or type(mtime) is not int or not isinstance(digest, str):
            return None
        return cls(size, mtime, digest, etag if isinstance(etag, str) else "")

    def matches_file(self, status: os.stat_result) -> bool:
        """Nobody wrote the file since it was checked."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)

    def matches_item(self, item: Item, etag: str = "") -> bool:
        """It is what the manifest now wants. Without a hash, the object must still be the same."""
        if self.size != item.size:
            return False
        if item.sha256 is not None:
            return self.sha256 == item.sha256
        return not etag or self.etag in (etag, "")


class ItemIndex:
    """The states of one content directory."""

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._cache: dict[_Location, tuple[tuple[int, int, int], ItemRecord | None]] = {}
        self._locations: dict[_Content, set[_Location]] | None = None
        self._unlinkable: set[_Content] = set()
        self._lock = threading.Lock()

    def record(self, held: Directory, campaign: str, content: str) -> ItemRecord | None:
        """What was checked of an item; `held` is the folder of the campaign's states."""
        status, place = held.stat_file(content + TGZ + _JSON), (campaign, content)
        if status is None:
            return None
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._cache.get(place)
        if known is None or known[0] != mark:
            known = (mark, ItemRecord.from_json(read_state(held, content + TGZ + _JSON)))
            with self._lock:
                self._cache[place] = known
                self._add_to_index(place, known[1])
        return known[1]

    def refresh(self, held: Directory, campaign: str, content: str) -> None:
        """A state was written just now."""
        with self._lock:
            self._cache.pop((campaign, content), None)
        self.record(held, campaign, content)

    def invalidate(self, campaign: str) -> None:
        """States of this campaign were written or removed."""
        with self._lock:
            for place in [place for place in self._cache if place[0] == campaign]:
                del self._cache[place]
            # What no longer fits is found out by whoever looks there; what came is not in the index yet.
            self._locations = None

    def _add_to_index(self, place: _Location, checked: ItemRecord | None) -> None:
        if self._locations is not None and checked is not None:
            self._locations.setdefault((checked.sha256, checked.size), set()).add(place)

    def _load_index(self) -> Mapping[_Content, set[_Location]]:
        """Made when first something is missing: an aircraft that has everything never needs it."""
        if self._locations is None:
            for campaign, content, held in self._all_records():
                self.record(held, campaign, content)
            with self._lock:
                self._locations = {}
                for place, (_, checked) in self._cache.items():
                    self._add_to_index(place, checked)
                return self._locations
        return self._locations

    def _all_records(self) -> Iterator[tuple[str, str, Directory]]:
        with self._root.open_if_present(LOADER_DIR, HELD_DIR) as above:
            for campaign in above.list_names():
                with above.open_if_present(campaign) as held:
                    for name in held.list_names():
                        if name.endswith(TGZ + _JSON):
                            yield campaign, name.removesuffix(TGZ + _JSON), held

    # The same content under another name.

    def has_duplicate(self, campaign: str, item: Item) -> bool:
        """The content of this item is whole under another name."""
        return any(True for _ in self._duplicates(campaign, item))

    def _duplicates(self, campaign: str, item: Item) -> Iterator[tuple[Directory, str, ItemRecord]]:
        if item.sha256 is None or (item.sha256, item.size) in self._unlinkable:
            return
        for source, content in sorted(self._load_index().get((item.sha256, item.size), ())):
            if (source, content) == (campaign, item.name):
                continue
            with (
                self._root.open_if_present(source) as folder,
                self._root.open_if_present(LOADER_DIR, HELD_DIR, source) as held,
            ):
                status = folder.stat_file(content + TGZ)
                checked = self.record(held, source, content)
                if status and checked and checked.matches_file(status) and checked.matches_item(item):
                    yield folder, content + TGZ, checked

    def link_duplicate(self, campaign: str, item: Item, target: Directory) -> tuple[str, ItemRecord] | None:
        """A second name of the content, `<content>.tgz.link` in `target`, and what is known of it; None if none could
        be made. It is not durable yet.
        """
        name = item.name + TGZ + LINK_SUFFIX
        for folder, source, checked in self._duplicates(campaign, item):
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
            # Between the look and the link somebody may have put something else there.
            status = target.stat_file(name)
            if status is not None and checked.matches_file(status):
                return name, checked
            target.remove(name)
        return None
