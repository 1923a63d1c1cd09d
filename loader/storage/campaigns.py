"""Campaigns in one content directory: list them, mark them complete or incomplete, and purge them.

`DIR/.loader/campaigns/<campaign>.json` is the record of a campaign. With a `manifest` in it, the campaign is
complete; without, only its dates are known. Touches only the directory it is given, and only files that the loader
wrote. Raises OSError.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Final

from loader.contract.heartbeat import HeldCampaign
from loader.contract.manifest import Exhibition, Item
from loader.contract.names import TGZ
from loader.failpoints import failpoint
from loader.storage.directory import Directory
from loader.storage.inventory import CampaignOnDisk, ManifestVersion
from loader.storage.item_index import ItemIndex
from loader.storage.layout import CAMPAIGNS_DIR, HELD_DIR, LINK_SUFFIX, LOADER_DIR, PARTS_DIR, STAGED_DIR
from loader.storage.state_files import read_state, write_state

_JSON: Final = ".json"
_EXHIBITION_FIELDS: Final = ("starts", "ends", "title")
_SUFFIXES: Final = ("", _JSON, _JSON + ".new", ".part", LINK_SUFFIX)  # of names in the directories below `.loader`


def campaign_records(root: Directory) -> dict[str, Mapping[str, object]]:
    """Return the records of all campaigns that are, or were, complete."""
    with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as folder:
        names = [name for name in folder.list_names() if name.endswith(_JSON)]
        return {name.removesuffix(_JSON): read_state(folder, name) for name in names}


def is_complete(record: Mapping[str, object]) -> bool:
    return isinstance(record.get("manifest"), str)


def held_campaigns(root: Directory) -> list[HeldCampaign]:
    """Return the complete campaigns, as the heartbeat lists them."""
    return [_held_campaign(name, record) for name, record in campaign_records(root).items() if is_complete(record)]


def _held_campaign(campaign: str, record: Mapping[str, object]) -> HeldCampaign:
    items, size = record.get("items"), record.get("bytes")
    return HeldCampaign(
        campaign,
        items if isinstance(items, int) else None,
        size if isinstance(size, int) else None,
        record.get("verified") is True,
    )


def installed_version(root: Directory, campaign: str) -> ManifestVersion | None:
    """Return the version that was last complete; None if the campaign is not complete in any."""
    with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as folder:
        record = read_state(folder, campaign + _JSON)
    digest, version = record.get("manifest"), record.get("version")
    if not isinstance(digest, str):
        return None
    return ManifestVersion(digest, version if isinstance(version, int) else None)


def list_campaigns(root: Directory) -> list[CampaignOnDisk]:
    """Return all campaigns that the loader has files of."""
    records = campaign_records(root)
    campaigns = set(records)
    for directory in (HELD_DIR, STAGED_DIR, PARTS_DIR):
        with root.open_if_present(LOADER_DIR, directory) as folder:
            campaigns |= set(folder.list_names())
    found = [_campaign_on_disk(root, campaign, records.get(campaign, {})) for campaign in sorted(campaigns)]
    return [campaign for campaign in found if campaign is not None]


def _campaign_on_disk(root: Directory, campaign: str, record: Mapping[str, object]) -> CampaignOnDisk | None:
    with root.open_if_present(campaign) as folder, root.open_if_present(LOADER_DIR, HELD_DIR, campaign) as records:
        files = [folder.stat_file(name) for name in installed_names(records)]
    for directory in (STAGED_DIR, PARTS_DIR):
        with root.open_if_present(LOADER_DIR, directory, campaign) as folder:
            files += [folder.stat_file(name) for name in folder.list_names() if _is_content(name)]
    content = frozenset(item_names(root, campaign))
    if not (content or is_complete(record)):
        return None
    freed = _freed_bytes(status for status in files if status is not None)
    return CampaignOnDisk(
        campaign,
        _parse_date(record.get("starts")),
        _parse_date(record.get("ends")),
        is_complete(record),
        (freed,),
        content,
    )


def item_names(root: Directory, campaign: str) -> set[str]:
    """Return the names, without `.tgz`, of the items that the loader has files of."""
    found: set[str] = set()
    for directory in (HELD_DIR, STAGED_DIR, PARTS_DIR):
        with root.open_if_present(LOADER_DIR, directory, campaign) as folder:
            for name in folder.list_names():
                # In reverse, because every name ends in the empty suffix.
                suffix = next(suffix for suffix in reversed(_SUFFIXES) if name.endswith(suffix))
                found |= {name.removesuffix(suffix).removesuffix(TGZ)}
    return found


def installed_names(records: Directory) -> list[str]:
    """Return the file names of installed items, given the directory of their records."""
    return [name.removesuffix(_JSON) for name in records.list_names() if name.endswith(TGZ + _JSON)]


def _is_content(name: str) -> bool:
    return not name.endswith((_JSON, _JSON + ".new"))


def _freed_bytes(files: Iterable[os.stat_result]) -> int:
    """Return how many bytes removing all of these frees. A file with more hard links elsewhere stays."""
    names: dict[tuple[int, int], int] = {}
    freed = 0
    for status in files:
        identity = status.st_dev, status.st_ino
        names[identity] = names.get(identity, 0) + 1
        # Some FUSE file systems report 0 names, and the same number for every file.
        if status.st_nlink <= 1 or names[identity] == status.st_nlink:
            freed += _disk_usage(status)
    return freed


def _disk_usage(status: os.stat_result) -> int:
    # st_blocks counts 512 bytes each, see stat(2). At most the size, as space is planned in sizes; less if sparse.
    return min(status.st_size, status.st_blocks * 512)


def _parse_date(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def complete_record(
    items: Collection[Item], manifest_version: ManifestVersion, exhibition: Exhibition, title: str
) -> dict[str, object]:
    """Return the record of a complete campaign with these items."""
    return {
        "manifest": manifest_version.digest,
        "version": manifest_version.version,
        "items": len(items),
        "bytes": sum(item.size for item in items),
        "verified": all(item.sha256 is not None for item in items),
        "starts": exhibition.starts.isoformat() if exhibition.starts else None,
        "ends": exhibition.ends.isoformat() if exhibition.ends else None,
        "title": title,
    }


def mark_complete(
    root: Directory, index: ItemIndex, campaign: str, items: Iterable[Item], record: Mapping[str, object]
) -> None:
    """Remove what the version no longer lists, then write the record durably."""
    with root.make_subdirectory(LOADER_DIR, CAMPAIGNS_DIR) as folder:
        if {**read_state(folder, campaign + _JSON), "schema": 1} != {"schema": 1, **record}:
            _remove_unlisted(root, index, campaign, {item.name: item for item in items})
            write_state(folder, campaign + _JSON, record)


def _remove_unlisted(root: Directory, index: ItemIndex, campaign: str, items: Mapping[str, Item]) -> None:
    """Remove installed items that are not among `items`. Files that the loader did not install stay."""
    with root.open_if_present(LOADER_DIR, HELD_DIR, campaign) as records, root.open_if_present(campaign) as folder:
        for name in installed_names(records) if folder.is_present else []:
            item = items.get(name.removesuffix(TGZ))
            installed = index.record(records, campaign, name.removesuffix(TGZ))
            # A listed item of an older version: the current one is in another content directory.
            if item is None or (installed is not None and not installed.matches_item(item)):
                folder.remove(name)
                records.remove(name + _JSON)
    index.invalidate(campaign)
    remove_stale_partials(root, campaign, [])


def remove_stale_partials(root: Directory, campaign: str, items: Iterable[Item]) -> None:
    """Remove partial files of items that are not among `items`, and their directory once it is empty."""
    listed = {item.name + TGZ + suffix for item in items for suffix in (".part", _JSON)}
    with root.open_if_present(LOADER_DIR, PARTS_DIR) as parts, parts.open_if_present(campaign) as folder:
        for name in folder.list_names():
            if name not in listed:
                folder.remove(name)
        parts.remove_if_empty(campaign)


def purge(root: Directory, campaign: str, contents: Collection[str] | None) -> int:
    """Remove a campaign or, given their names without `.tgz`, some of its items, durably. Return the bytes freed.

    The record of the campaign goes first, so that it is not reported as complete meanwhile. Then go the files, and last
    the records that say the files are the loader's. After a kill, calling it again does the rest.
    """
    names = None if contents is None else {content + TGZ for content in contents}
    if names is not None and not _has_any(root, campaign, names):
        return 0
    mark_incomplete(root, campaign)
    failpoint("purge-begun")
    files = _remove_finals(root, campaign, names)
    for directory in (STAGED_DIR, PARTS_DIR):
        files += _remove_all(root, directory, campaign, names)
    _remove_all(root, HELD_DIR, campaign, names)
    if names is None:
        root.remove_if_empty(campaign)
        with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as folder:
            folder.remove(campaign + _JSON)
            folder.fsync()
    # The status is from right before the removal, so only the last of several hard links has a count of 1.
    return sum(_disk_usage(status) for status in files if status.st_nlink <= 1)


def _has_any(root: Directory, campaign: str, names: Collection[str]) -> bool:
    listed = {name + suffix for name in names for suffix in _SUFFIXES}
    for directory in (HELD_DIR, STAGED_DIR, PARTS_DIR):
        with root.open_if_present(LOADER_DIR, directory, campaign) as folder:
            if listed & set(folder.list_names()):
                return True
    return False


def mark_incomplete(root: Directory, campaign: str) -> None:
    """Record that no version of the campaign is complete. Its dates stay until it is purged."""
    with root.open_if_present(LOADER_DIR, CAMPAIGNS_DIR) as folder:
        record = read_state(folder, campaign + _JSON)
        if is_complete(record):
            dates = {field: record[field] for field in _EXHIBITION_FIELDS if field in record}
            write_state(folder, campaign + _JSON, dates)


def _remove_finals(root: Directory, campaign: str, names: Collection[str] | None) -> list[os.stat_result]:
    removed: list[os.stat_result] = []
    with root.open_if_present(campaign) as folder, root.open_if_present(LOADER_DIR, HELD_DIR, campaign) as records:
        for name in installed_names(records):
            status = folder.stat_file(name) if names is None or name in names else None
            if status:
                folder.remove(name)
                removed.append(status)
                failpoint("purge-halfway")
        folder.fsync()
    return removed


def _remove_all(root: Directory, directory: str, campaign: str, names: Collection[str] | None) -> list[os.stat_result]:
    """Remove files of a campaign from one of the directories below `.loader`; return the status of partial files."""
    listed = None if names is None else {name + suffix for name in names for suffix in _SUFFIXES}
    removed: list[os.stat_result] = []
    with (
        root.open_if_present(LOADER_DIR, directory) as parent,
        root.open_if_present(LOADER_DIR, directory, campaign) as folder,
    ):
        for name in folder.list_names():
            status = folder.stat_file(name) if listed is None or name in listed else None
            if status:
                folder.remove(name)
                removed += [status] if _is_content(name) else []
        folder.fsync()
        parent.remove_if_empty(campaign)
    return removed
