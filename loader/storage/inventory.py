"""Values that describe a content directory: items, campaigns and manifest versions on disk. Pure; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Found:
    """What one content directory has of one item.

    `final`: "absent"; "whole": the wanted content; "unchecked": the right size, but nothing known about it; "other":
    something else, e.g. an older version. `beside`: the wanted content waits there. `part`: bytes begun. `linkable`:
    the same content is whole in this directory under another name.
    """

    final: str = "absent"
    beside: bool = False
    part: int = 0
    linkable: bool = False


@dataclass(frozen=True, slots=True)
class Aboard:
    """A campaign of which something lies here. `bytes`: what removing it would free, for each content directory.

    `content`: the items of which something lies here; None where that is not known.
    """

    campaign: str
    starts: date | None = None
    ends: date | None = None
    whole: bool = False
    bytes: tuple[int, ...] = ()
    content: frozenset[str] | None = None


def together(stores: Sequence[Iterable[Aboard]]) -> tuple[Aboard, ...]:
    """What several content directories say of their campaigns (`bytes` of one element each), as one."""
    found: dict[str, list[Aboard | None]] = {}
    for store, campaigns in enumerate(stores):
        for one in campaigns:
            found.setdefault(one.campaign, [None] * len(stores))[store] = one
    return tuple(_joined(campaign, found[campaign]) for campaign in sorted(found))


def _joined(campaign: str, parts: Sequence[Aboard | None]) -> Aboard:
    there = [part for part in parts if part is not None]
    return Aboard(
        campaign,
        next((part.starts for part in there if part.starts), None),
        next((part.ends for part in there if part.ends), None),
        any(part.whole for part in there),
        tuple(sum(part.bytes) if part else 0 for part in parts),
        frozenset().union(*(part.content for part in there if part.content is not None))
        if all(part.content is not None for part in there)
        else None,
    )


@dataclass(frozen=True, slots=True)
class Edition:
    """What a campaign is: its manifest's version (if it has one) and the SHA-256 of the manifest."""

    digest: str
    version: int | None = None


Key = tuple[str, str]  # campaign, content
