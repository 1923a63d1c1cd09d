"""Values that describe a content directory: items, campaigns and manifest versions on disk. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class LocalItemState:
    """What one content directory has of one item.

    `file`: "absent"; "whole": the wanted content; "unchecked": the right size, but nothing known about it; "other":
    something else, e.g. an older version. `staged`: the wanted content waits there. `bytes_done`: bytes begun.
    `linkable`: the same content is whole in this directory under another name.
    """

    file: str = "absent"
    staged: bool = False
    bytes_done: int = 0
    linkable: bool = False


@dataclass(frozen=True, slots=True)
class CampaignOnDisk:
    """A campaign of which something lies here. `bytes`: what removing it would free, for each content directory.

    `content`: the items of which something lies here; None where that is not known.
    """

    campaign: str
    starts: date | None = None
    ends: date | None = None
    is_complete: bool = False
    bytes: tuple[int, ...] = ()
    content: frozenset[str] | None = None


def merge_stores(stores: Sequence[Iterable[CampaignOnDisk]]) -> tuple[CampaignOnDisk, ...]:
    """What several content directories say of their campaigns (`bytes` of one element each), as one."""
    found: dict[str, list[CampaignOnDisk | None]] = {}
    for store, campaigns in enumerate(stores):
        for one in campaigns:
            found.setdefault(one.campaign, [None] * len(stores))[store] = one
    return tuple(_merge(campaign, found[campaign]) for campaign in sorted(found))


def _merge(campaign: str, parts: Sequence[CampaignOnDisk | None]) -> CampaignOnDisk:
    there = [part for part in parts if part is not None]
    return CampaignOnDisk(
        campaign,
        next((part.starts for part in there if part.starts), None),
        next((part.ends for part in there if part.ends), None),
        any(part.is_complete for part in there),
        tuple(sum(part.bytes) if part else 0 for part in parts),
        frozenset().union(*(part.content for part in there if part.content is not None))
        if all(part.content is not None for part in there)
        else None,
    )


@dataclass(frozen=True, slots=True)
class ManifestVersion:
    """What a campaign is: its manifest's version (if it has one) and the SHA-256 of the manifest."""

    digest: str
    version: int | None = None


class ItemKey(NamedTuple):
    """The names of a campaign and of one item of it."""

    campaign: str
    content: str
