"""Values that describe a content directory: items, campaigns and manifest versions on disk. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from enum import Enum, auto
from typing import NamedTuple

from loader.frozen import frozen


class FileState(Enum):
    """What is under the final name of an item."""

    ABSENT = auto()
    COMPLETE = auto()  # the content that the manifest lists
    UNVERIFIED = auto()  # a file of the right size without a record
    OTHER = auto()  # other content, for example of an older version


@frozen
class LocalItemState:
    """What one content directory has of one item.

    `staged`: the content that the manifest lists is staged. `bytes_done`: bytes in the partial file. `linkable`: the
    same content is complete in this directory under another name.
    """

    file: FileState = FileState.ABSENT
    staged: bool = False
    bytes_done: int = 0
    linkable: bool = False


@frozen
class CampaignOnDisk:
    """A campaign of which files are on disk, in one or several content directories.

    `bytes`: what removing it would free in each content directory. `content`: names of its items on disk, None if
    unknown.
    """

    campaign: str
    starts: date | None = None
    ends: date | None = None
    is_complete: bool = False
    bytes: tuple[int, ...] = ()
    content: frozenset[str] | None = None


def merge_stores(stores: Sequence[Iterable[CampaignOnDisk]]) -> tuple[CampaignOnDisk, ...]:
    """Merge the campaigns of several content directories, whose `bytes` have one element each."""
    found: dict[str, list[CampaignOnDisk | None]] = {}
    for store, campaigns in enumerate(stores):
        for campaign in campaigns:
            found.setdefault(campaign.campaign, [None] * len(stores))[store] = campaign
    return tuple(_merge(campaign, found[campaign]) for campaign in sorted(found))


def _merge(campaign: str, parts: Sequence[CampaignOnDisk | None]) -> CampaignOnDisk:
    present = [part for part in parts if part is not None]
    return CampaignOnDisk(
        campaign,
        next((part.starts for part in present if part.starts), None),
        next((part.ends for part in present if part.ends), None),
        any(part.is_complete for part in present),
        tuple(sum(part.bytes) if part else 0 for part in parts),
        frozenset().union(*(part.content for part in present if part.content is not None))
        if all(part.content is not None for part in present)
        else None,
    )


@frozen
class ManifestVersion:
    """The version of a campaign: the SHA-256 of its manifest and, if the manifest has one, its version number."""

    digest: str
    version: int | None = None


class ItemKey(NamedTuple):
    """The names of a campaign and of one item of it."""

    campaign: str
    content: str
