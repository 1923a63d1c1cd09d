"""Parts cover every tail exactly once, are no larger than necessary, and remain stable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.reconcile.partitions import (
    PARTITION_KEYS,
    REPARTITION_FACTOR,
    UNKNOWN_TAIL_KEYS,
    UNPARTITIONED,
    UNPARTITIONED_LIMIT,
    partition_tails,
)

NAMES = st.text(st.sampled_from("AB1-é"), min_size=1, max_size=4)
FLEETS = st.dictionaries(NAMES, st.integers(0, 2 * PARTITION_KEYS), max_size=12)


def parts_of(tail: str, parts: tuple[str, ...]) -> list[str]:
    return [part for part in parts if f"{tail}/".startswith(part)]


def weight(part: str, keys: dict[str, int]) -> int:
    return sum(count or UNKNOWN_TAIL_KEYS for tail, count in keys.items() if f"{tail}/".startswith(part))


@given(keys=FLEETS)
def test_every_tail_is_in_one_part(keys: dict[str, int]) -> None:
    parts = partition_tails(keys)
    assert all(len(parts_of(tail, parts)) == 1 for tail in keys)
    assert all(parts_of(tail, parts) for tail in keys)
    assert len(set(parts)) == len(parts)


@given(keys=FLEETS)
def test_a_part_that_is_too_large_is_one_tail_alone(keys: dict[str, int]) -> None:
    parts = partition_tails(keys)
    if parts == UNPARTITIONED:
        assert weight("", keys) <= UNPARTITIONED_LIMIT
    else:
        assert all(weight(part, keys) <= PARTITION_KEYS or part.removesuffix("/") in keys for part in parts)


@given(keys=FLEETS, grown=FLEETS)
def test_partitions_are_reused_until_a_tail_is_outside_or_one_has_grown(
    keys: dict[str, int], grown: dict[str, int]
) -> None:
    before = partition_tails(keys)
    now = {**keys, **grown}
    after = partition_tails(now, before)
    assert all(len(parts_of(tail, after)) == 1 for tail in now)
    assert partition_tails(now, after) == after or after == UNPARTITIONED
    if before != UNPARTITIONED and after not in (before, UNPARTITIONED):
        lost = any(not parts_of(tail, before) for tail in now)
        heavy = any(weight(part, now) > REPARTITION_FACTOR * PARTITION_KEYS for part in before)
        assert lost or heavy


def test_a_small_airline_is_whole_and_a_large_one_is_cut_by_prefix() -> None:
    assert partition_tails({f"N{number:03}": 100 for number in range(1000)}) == UNPARTITIONED
    assert partition_tails({f"D-A{letter}{number}": 30_000 for letter in "BC" for number in range(3)}) == (
        "D-AB0",
        "D-AB1",
        "D-AB2",
        "D-AC0",
        "D-AC1",
        "D-AC2",
    )
    assert partition_tails({f"N{number}": 40_000 for number in range(1, 13)})[:4] == ("N1/", "N10", "N11", "N12")


def test_a_tail_with_very_many_keys_gets_its_own_partition() -> None:
    keys = {f"N{number:02}": 100 for number in range(100)}
    parts = partition_tails({**keys, "N42": 1_000_000})
    assert "N42/" in parts
    assert parts_of("N42", parts) == ["N42/"]
    assert parts_of("N420", parts) == []


def test_parts_grow_together_again_only_when_little_is_left() -> None:
    cut = partition_tails({"A": 80_000, "B": 80_000})
    assert cut == ("A/", "B/")
    assert partition_tails({"A": 80_000, "B": 10_000}, cut) == cut
    assert partition_tails({"A": 50_000, "B": 10_000}, cut) == UNPARTITIONED


@given(keys=FLEETS, archives=st.integers(0, 2 * UNPARTITIONED_LIMIT))
def test_archives_are_never_in_the_way_of_tails(keys: dict[str, int], archives: int) -> None:
    """A complete listing includes them; where that is too large and partitioned, no part has them."""
    parts = partition_tails(keys, archives=archives)
    assert all(len(parts_of(tail, parts)) == 1 for tail in keys)
    if parts == UNPARTITIONED:
        assert not keys or weight("", keys) + archives <= UNPARTITIONED_LIMIT
    else:
        assert not any(".archive/".startswith(part) for part in parts)
    if keys and weight("", keys) + archives > UNPARTITIONED_LIMIT:
        assert partition_tails(keys, parts, archives) == parts
