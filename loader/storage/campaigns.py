"""The campaigns that lie in one content directory: which they are, what removing one frees, and removing it.

`DIR/.loader/campaigns/<campaign>.json` is the mark of a campaign. With a `manifest` in it, it is whole; without, only
its days are known. Touches only the directory it is given, and there only names that the loader gave. Raises OSError.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Final

from loader.contract.heartbeat import HeldCampaign
from loader.contract.names import TGZ
from loader.failpoints import failpoint
from loader.storage.directory import Folder, existing
from loader.storage.inventory import Aboard
from loader.storage.layout import BESIDE, HELD, LINK, MARKS, OURS, PARTS
from loader.storage.state_files import read_state, write_state

_JSON: Final = ".json"
_DAYS: Final = ("starts", "ends", "title")
_ENDINGS: Final = ("", _JSON, _JSON + ".new", ".part", LINK)  # of names in our own folders


def marks(root: Folder) -> dict[str, Mapping[str, object]]:
    """What is known of every campaign that is, or was, whole here."""
    with existing(root, OURS, MARKS) as folder:
        names = [name for name in folder.names() if name.endswith(_JSON)] if folder else []
        return {name.removesuffix(_JSON): read_state(folder, name) for name in names} if folder else {}


def is_whole(mark: Mapping[str, object]) -> bool:
    """The campaign was whole when the mark was written."""
    return isinstance(mark.get("manifest"), str)


def as_held(campaign: str, mark: Mapping[str, object]) -> HeldCampaign:
    """As the heartbeat tells it."""
    items, size = mark.get("items"), mark.get("bytes")
    return HeldCampaign(
        campaign,
        items if isinstance(items, int) else None,
        size if isinstance(size, int) else None,
        mark.get("verified") is True,
    )


def aboard(root: Folder) -> list[Aboard]:
    """Every campaign of which something of ours lies here. What has a second name elsewhere would free nothing."""
    known = marks(root)
    campaigns = set(known)
    for place in (HELD, BESIDE, PARTS):
        with existing(root, OURS, place) as folder:
            campaigns |= set(folder.names()) if folder else set()
    found = [_aboard(root, campaign, known.get(campaign, {})) for campaign in sorted(campaigns)]
    return [one for one in found if one is not None]


def _aboard(root: Folder, campaign: str, mark: Mapping[str, object]) -> Aboard | None:
    with existing(root, campaign) as finals, existing(root, OURS, HELD, campaign) as held:
        lying = [finals.plain(name) for name in given_names(held)] if finals else []
    for place in (BESIDE, PARTS):
        with existing(root, OURS, place, campaign) as folder:
            lying += [folder.plain(name) for name in folder.names() if _is_content(name)] if folder else []
    content = frozenset(contents(root, campaign))
    if not (content or is_whole(mark)):
        return None
    freed = _freed(status for status in lying if status is not None)
    return Aboard(campaign, _day(mark.get("starts")), _day(mark.get("ends")), is_whole(mark), (freed,), content)


def contents(root: Folder, campaign: str) -> set[str]:
    """The items, without `.tgz`, of which something lies here that the loader put there."""
    found: set[str] = set()
    for place in (HELD, BESIDE, PARTS):
        with existing(root, OURS, place, campaign) as folder:
            for name in folder.names() if folder else []:
                # The longest ending first: every name ends in the empty one.
                ending = next(ending for ending in reversed(_ENDINGS) if name.endswith(ending))
                found |= {name.removesuffix(ending).removesuffix(TGZ)}
    return found


def given_names(held: Folder | None) -> list[str]:
    """The final names that the loader gave, from the folder of their states."""
    names = held.names() if held else []
    return [name.removesuffix(_JSON) for name in names if name.endswith(TGZ + _JSON)]


def _is_content(name: str) -> bool:
    return not name.endswith((_JSON, _JSON + ".new"))


def _freed(files: Iterable[os.stat_result]) -> int:
    """Bytes, if all of these go. One that has names elsewhere stays."""
    names: dict[tuple[int, int], int] = {}
    freed = 0
    for status in files:
        identity = status.st_dev, status.st_ino
        names[identity] = names.get(identity, 0) + 1
        if names[identity] == status.st_nlink:
            freed += _room(status)
    return freed


def _room(status: os.stat_result) -> int:
    """Bytes on disk, at most the size: a sparse file has fewer."""
    return min(status.st_size, status.st_blocks * 512)


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def purge(root: Folder, campaign: str, contents: Collection[str] | None) -> int:
    """Remove a campaign, or some of its items (without `.tgz`); durable. Returns the bytes freed.

    First the mark goes, so that it is not told to be held while files go; then the files, then what says that they are
    ours. After a kill in between, calling it again does the rest.
    """
    names = None if contents is None else {content + TGZ for content in contents}
    if names is not None and not _touches(root, campaign, names):
        return 0
    unmark(root, campaign)
    failpoint("purge-begun")
    files = _remove_finals(root, campaign, names)
    for place in (BESIDE, PARTS):
        files += _remove_all(root, place, campaign, names)
    _remove_all(root, HELD, campaign, names)
    if names is None:
        root.discard(campaign)
        with existing(root, OURS, MARKS) as folder:
            if folder:
                folder.remove(campaign + _JSON)
                folder.sync()
    # Each was looked at right before it went: the last name of a file is the one that frees it.
    return sum(_room(status) for status in files if status.st_nlink == 1)


def _touches(root: Folder, campaign: str, names: Collection[str]) -> bool:
    """Something of these items lies here."""
    listed = {name + ending for name in names for ending in _ENDINGS}
    for place in (HELD, BESIDE, PARTS):
        with existing(root, OURS, place, campaign) as folder:
            if folder and listed & set(folder.names()):
                return True
    return False


def unmark(root: Folder, campaign: str) -> None:
    """It is no longer whole; its days stay known until all of it is gone."""
    with existing(root, OURS, MARKS) as folder:
        mark = read_state(folder, campaign + _JSON) if folder else {}
        if folder and is_whole(mark):
            write_state(folder, campaign + _JSON, {field: mark[field] for field in _DAYS if field in mark})


def _remove_finals(root: Folder, campaign: str, names: Collection[str] | None) -> list[os.stat_result]:
    removed: list[os.stat_result] = []
    with existing(root, campaign) as finals, existing(root, OURS, HELD, campaign) as held:
        for name in given_names(held) if finals else []:
            status = finals.plain(name) if finals and (names is None or name in names) else None
            if finals and status:
                finals.remove(name)
                removed.append(status)
                failpoint("purge-halfway")
        if finals:
            finals.sync()
    return removed


def _remove_all(root: Folder, place: str, campaign: str, names: Collection[str] | None) -> list[os.stat_result]:
    """What lies of it in one of our own folders."""
    listed = None if names is None else {name + ending for name in names for ending in _ENDINGS}
    removed: list[os.stat_result] = []
    with existing(root, OURS, place) as above, existing(root, OURS, place, campaign) as folder:
        for name in folder.names() if folder else []:
            status = folder.plain(name) if folder and (listed is None or name in listed) else None
            if folder and status:
                folder.remove(name)
                removed += [status] if _is_content(name) else []
        if above and folder:
            folder.sync()
            above.discard(campaign)
    return removed
