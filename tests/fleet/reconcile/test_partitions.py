"""Parts cover every tail exactly once, none is larger than it need be, and they stay while they serve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.reconcile.partitions import GROWN, PART, UNKNOWN, WHOLE, WHOLE_LIMIT, parts_for

NAMES = st.text(st.sampled_from("AB1-é"), min_size=1, max_size=4)
FLEETS = st.dictionaries(NAMES, st.integers(0, 2 * PART), max_size=12)


def parts_of(tail: str, parts: tuple[str, ...]) -> list[str]:
    return [part for part in parts if f"{tail}/".startswith(part)]


def weight(part: str, keys: dict[str, int]) -> int:
    return sum(count or UNKNOWN for tail, count in keys.items() if f"{tail}/".startswith(part))


@given(keys=FLEETS)
def test_every_tail_is_in_one_part(keys: dict[str, int]) -> None:
    parts = parts_for(keys)
    assert all(len(parts_of(tail, parts)) == 1 for tail in keys)
    assert all(parts_of(tail, parts) for tail in keys)
    assert len(set(parts)) == len(parts)


@given(keys=FLEETS)
def test_a_part_that_is_too_large_is_one_tail_alone(keys: dict[str, int]) -> None:
    parts = parts_for(keys)
    if parts == WHOLE:
        assert weight("", keys) <= WHOLE_LIMIT
    else:
        assert all(weight(part, keys) <= PART or part.removesuffix("/") in keys for part in parts)


@given(keys=FLEETS, grown=FLEETS)
def test_parts_stay_until_a_tail_is_in_none_or_one_has_grown(keys: dict[str, int], grown: dict[str, int]) -> None:
    before = parts_for(keys)
    now = {**keys, **grown}
    after = parts_for(now, before)
    assert all(len(parts_of(tail, after)) == 1 for tail in now)
    assert parts_for(now, after) == after or after == WHOLE
    if before != WHOLE and after not in (before, WHOLE):
        lost = any(not parts_of(tail, before) for tail in now)
        heavy = any(weight(part, now) > GROWN * PART for part in before)
        assert lost or heavy


def test_a_small_airline_is_whole_and_a_large_one_is_cut_by_prefix() -> None:
    assert parts_for({f"N{number:03}": 100 for number in range(1000)}) == WHOLE
    assert parts_for({f"D-A{letter}{number}": 30_000 for letter in "BC" for number in range(3)}) == (
        "D-AB0",
        "D-AB1",
        "D-AB2",
        "D-AC0",
        "D-AC1",
        "D-AC2",
    )
    assert parts_for({f"N{number}": 40_000 for number in range(1, 13)})[:4] == ("N1/", "N10", "N11", "N12")


def test_one_tail_with_very_many_keys_is_set_apart_and_its_neighbours_are_not() -> None:
    keys = {f"N{number:02}": 100 for number in range(100)}
    parts = parts_for({**keys, "N42": 1_000_000})
    assert "N42/" in parts
    assert parts_of("N42", parts) == ["N42/"]
    assert parts_of("N420", parts) == []


def test_parts_grow_together_again_only_when_little_is_left() -> None:
    cut = parts_for({"A": 80_000, "B": 80_000})
    assert cut == ("A/", "B/")
    assert parts_for({"A": 80_000, "B": 10_000}, cut) == cut
    assert parts_for({"A": 50_000, "B": 10_000}, cut) == WHOLE


@given(keys=FLEETS, archives=st.integers(0, 2 * WHOLE_LIMIT))
def test_archives_are_never_in_the_way_of_tails(keys: dict[str, int], archives: int) -> None:
    """A listing of the whole has them all; where that is too much, it is cut, and they are in none of the parts."""
    parts = parts_for(keys, archives=archives)
    assert all(len(parts_of(tail, parts)) == 1 for tail in keys)
    if parts == WHOLE:
        assert not keys or weight("", keys) + archives <= WHOLE_LIMIT
    else:
        assert not any(".archive/".startswith(part) for part in parts)
    if keys and weight("", keys) + archives > WHOLE_LIMIT:
        assert parts_for(keys, parts, archives) == parts
