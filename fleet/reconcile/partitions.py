"""Partitions of an airline's prefix in the status bucket, each listed on its own. Pure.

A part is a prefix of what follows `<airline>/` in a key: "" is all of it, "N1" every tail whose name begins so, "N1/"
the tail N1 alone. Listing by prefix needs no order of keys, which not every store keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from os.path import commonprefix
from typing import Final

UNPARTITIONED: Final = ("",)
UNPARTITIONED_LIMIT: Final = 100_000  # keys; an airline with more is cut
PARTITION_KEYS: Final = 75_000  # keys a part should have at most, so that what is known of them takes some 25 MB
REPARTITION_FACTOR: Final = 1.3  # a part is cut anew when it has so many times that
UNKNOWN_TAIL_KEYS: Final = 100  # keys of a tail that has not been counted yet


def partition_tails(
    keys: Mapping[str, int], current: Sequence[str] = UNPARTITIONED, archives: int = 0
) -> tuple[str, ...]:
    """Parts that together cover every tail; `keys` says how many keys each has (0: not known yet).

    The `current` parts stay as long as they serve, since each is a job with a history of its own. The airline's
    `archives` are in a listing of the whole, and in no part.
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
    """Whether the parts cover each tail, and none that could be cut has grown too large."""
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
    """`tails` end in a slash, begin with `prefix`, and are sorted."""
    if sum(weights[tail] for tail in tails) <= PARTITION_KEYS:
        return [prefix]
    if len(tails) == 1:
        return [tails[0]]  # nothing but this one, whatever names may come
    common = len(commonprefix(tails))  # noqa: RUF071  characters are what is meant
    groups = groupby(tails, key=lambda tail: tail[: common + 1])
    return [part for head, group in groups for part in _split(head, list(group), weights)]
