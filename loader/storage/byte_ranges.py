"""Byte ranges of an item, ends exclusive. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Extent = tuple[int, int]


def union(extents: Iterable[Extent]) -> list[Extent]:
    """Return the same bytes as sorted extents that neither overlap nor touch, without empty ones."""
    joined: list[Extent] = []
    for start, end in sorted(extent for extent in extents if extent[0] < extent[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
