"""Partitions of an airline's prefix in the status bucket, each listed on its own. Pure.

A partition is a prefix of what follows `<airline>/` in a key: "" is all of it, "N1" every tail whose name starts with
N1, "N1/" the tail N1 alone. Listing by prefix needs no order of keys, which some stores do not guarantee.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from os.path import commonprefix
from typing import Final

UNPARTITIONED: Final = ("",)
UNPARTITIONED_LIMIT: Final = 100_000  # keys; an airline with more is partitioned
PARTITION_KEYS: Final = 75_000  # keys of a partition at most; their known versions take about 25 MB
REPARTITION_FACTOR: Final = 1.3  # a partition with more than this times PARTITION_KEYS is split
UNKNOWN_TAIL_KEYS: Final = 100  # assumed for a tail that has not been counted yet


def partition_tails(
    keys: Mapping[str, int], current: Sequence[str] = UNPARTITIONED, archives: int = 0
) -> tuple[str, ...]:
    """Return partitions that together cover every tail; `keys` is the number of keys of each (0: not known yet).

    The `current` partitions stay while they fit, since each is a job with a history. The airline's `archives` are in
    the listing of an unpartitioned airline, and in no partition.
    """
    weights = {f"{name}/": count or UNKNOWN_TAIL_KEYS for name, count in keys.items()}
    limit = UNPARTITIONED_LIMIT if tuple(current) == UNPARTITIONED else PARTITION_KEYS
    if not weights or sum(weights.values()) + archives <= limit:
        return UNPARTITIONED
    if tuple(current) != UNPARTITIONED and _still_fit(current, weights):
        return tuple(current)
    parts = tuple(_split("", sorted(weights), weights))
    return parts if parts != UNPARTITIONED else tuple(sorted({name[0] for name in weights}))


def _still_fit(partitions: Iterable[str], weights: Mapping[str, int]) -> bool:
    """Return whether the partitions cover each tail and none that could be split has grown too large."""
    covered: dict[str, list[str]] = {part: [] for part in partitions}
    for tail in weights:
        part = next((part for part in covered if tail.startswith(part)), None)
        if part is None:
            return False
        covered[part].append(tail)
    return all(
        part in tails or sum(weights[tail] for tail in tails) <= REPARTITION_FACTOR * PARTITION_KEYS
        for part, tails in covered.items()
        if tails
    )


def _split(prefix: str, tails: Sequence[str], weights: Mapping[str, int]) -> list[str]:
    """Split sorted `tails`, each starting with `prefix` and ending in a slash."""
    if sum(weights[tail] for tail in tails) <= PARTITION_KEYS:
        return [prefix]
    if len(tails) == 1:
        return [tails[0]]  # with the slash, so that it matches no other tail that comes later
    common = len(commonprefix(tails))  # noqa: RUF071  by character, not by path segment
    groups = groupby(tails, key=lambda tail: tail[: common + 1])
    return [part for head, group in groups for part in _split(head, list(group), weights)]
