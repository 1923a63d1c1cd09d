"""What was checked of the files under final names, and where the same content lies, so that it is linked, not fetched.

`DIR/.loader/held/<campaign>/<content>.tgz.json` is the truth. Here it is kept in memory with the identity of each state
file, so that a look at 10,000 items costs two `stat` an item; nothing is believed of a file without looking at it.
Touches only the directory it is given. Methods may be called from any thread; they raise OSError.
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
from loader.storage.directory import Folder, existing
from loader.storage.layout import HELD, LINK, OURS
from loader.storage.state_files import read_state

_JSON: Final = ".json"
# The file system cannot, may not or will not; the content is then fetched.
_NO_LINK: Final = frozenset(
    {errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, errno.ELOOP}
)
_Content = tuple[str, int]  # SHA-256, size
_Place = tuple[str, str]  # campaign, content


@dataclass(frozen=True, slots=True)
class Checked:
    """What a state says of the file beside it. `etag`: of the object it came from, empty where not known."""

    size: int
    mtime_ns: int
    sha256: str
    etag: str

    @classmethod
    def of(cls, state: Mapping[str, object]) -> Checked | None:
        """None for a state that is torn or foreign."""
        size, mtime, digest, etag = (state.get(field) for field in cls.__slots__)
        if type(size) is not int or type(mtime) is not int or not isinstance(digest, str):
            return None
        return cls(size, mtime, digest, etag if isinstance(etag, str) else "")

    def is_of(self, status: os.stat_result) -> bool:
        """Nobody wrote the file since it was checked."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)

    def fits(self, item: Item, etag: str = "") -> bool:
        """It is what the manifest now wants. Without a hash, the object must still be the same."""
        if self.size != item.size:
            return False
        if item.sha256 is not None:
            return self.sha256 == item.sha256
        return not etag or self.etag in (etag, "")


class Hold:
    """The states of one content directory."""

    def __init__(self, root: Folder) -> None:
        self._root = root
        self._known: dict[_Place, tuple[tuple[int, int, int], Checked | None]] = {}
        self._places: dict[_Content, set[_Place]] | None = None
        self._hopeless: set[_Content] = set()
        self._lock = threading.Lock()

    def state(self, held: Folder, campaign: str, content: str) -> Checked | None:
        """What was checked of an item; `held` is the folder of the campaign's states."""
        status, place = held.plain(content + TGZ + _JSON), (campaign, content)
        if status is None:
            return None
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known.get(place)
        if known is None or known[0] != mark:
            known = (mark, Checked.of(read_state(held, content + TGZ + _JSON)))
            with self._lock:
                self._known[place] = known
                self._note(place, known[1])
        return known[1]

    def note(self, held: Folder, campaign: str, content: str) -> None:
        """A state was written just now."""
        with self._lock:
            self._known.pop((campaign, content), None)
        self.state(held, campaign, content)

    def forget(self, campaign: str) -> None:
        """States of this campaign were written or removed."""
        with self._lock:
            for place in [place for place in self._known if place[0] == campaign]:
                del self._known[place]
            # What no longer fits is found out by whoever looks there; what came is not in the index yet.
            self._places = None

    def _note(self, place: _Place, checked: Checked | None) -> None:
        if self._places is not None and checked is not None:
            self._places.setdefault((checked.sha256, checked.size), set()).add(place)

    def _index(self) -> Mapping[_Content, set[_Place]]:
        """Made when first something is missing: an aircraft that has everything never needs it."""
        if self._places is None:
            for campaign, content, held in self._all():
                self.state(held, campaign, content)
            with self._lock:
                self._places = {}
                for place, (_, checked) in self._known.items():
                    self._note(place, checked)
                return self._places
        return self._places

    def _all(self) -> Iterator[tuple[str, str, Folder]]:
        with existing(self._root, OURS, HELD) as above:
            for campaign in above.names() if above else []:
                with existing(self._root, OURS, HELD, campaign) as held:
                    for name in held.names() if held else []:
                        if held and name.endswith(TGZ + _JSON):
                            yield campaign, name.removesuffix(TGZ + _JSON), held

    # The same content under another name.

    def linkable(self, campaign: str, item: Item) -> bool:
        """The content of this item is whole under another name."""
        return any(True for _ in self._sources(campaign, item))

    def _sources(self, campaign: str, item: Item) -> Iterator[tuple[Folder, str, Checked]]:
        if item.sha256 is None or (item.sha256, item.size) in self._hopeless:
            return
        for source, content in sorted(self._index().get((item.sha256, item.size), ())):
            if (source, content) == (campaign, item.name):
                continue
            with existing(self._root, source) as folder, existing(self._root, OURS, HELD, source) as held:
                status = folder.plain(content + TGZ) if folder else None
                checked = self.state(held, source, content) if held else None
                if folder and status and checked and checked.is_of(status) and checked.fits(item):
                    yield folder, content + TGZ, checked

    def link(self, campaign: str, item: Item, target: Folder) -> tuple[str, Checked] | None:
        """A second name of the content, `<content>.tgz.link` in `target`, and what is known of it; None if none could
        be made. It is not durable yet.
        """
        name = item.name + TGZ + LINK
        for folder, source, checked in self._sources(campaign, item):
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
                if error.errno not in _NO_LINK:
                    raise
                if error.errno != errno.ENOENT and item.sha256 is not None:
                    self._hopeless.add((item.sha256, item.size))
                continue
            # Between the look and the link somebody may have put something else there.
            status = target.plain(name)
            if status is not None and checked.is_of(status):
                return name, checked
            target.remove(name)
        return None
