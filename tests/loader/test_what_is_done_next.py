"""The plan: order, space, what stays where it is. Pure, so tables and properties are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract import Exhibition, Item, Manifest
from loader.plan import Found, Plan, Wanted, make_plan

TODAY = date(2026, 12, 15)
NOTHING = Found()


def wanted(
    campaign: str, *items: Item, starts: date | None = None, ends: date | None = None, named: bool = False
) -> Wanted:
    return Wanted(campaign, Manifest(items, exhibition=Exhibition(starts, ends)), named)


def plan(
    *campaigns: Wanted,
    free: Sequence[int] = (10**12,),
    found: Mapping[tuple[str, str], Sequence[Found]] | None = None,
    barred: Mapping[tuple[str, str], str] | None = None,
) -> Plan:
    def find(campaign: str, item: Item) -> Sequence[Found]:
        return (found or {}).get((campaign, item.name), [NOTHING] * len(free))

    return make_plan(campaigns, find, free, TODAY, barred or {})


def done(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.campaign, step.item.name, step.action) for step in plan.steps]


def test_the_nearest_start_comes_first_and_no_date_means_today() -> None:
    made = plan(
        wanted("january", Item("a", 1), starts=date(2027, 1, 1)),
        wanted("plain", Item("a", 1)),
        wanted("december", Item("a", 1), starts=date(2026, 12, 1), ends=date(2026, 12, 31)),
    )
    assert [step.campaign for step in made.steps] == ["december", "plain", "january"]


def test_an_ended_exhibition_is_passed_over_unless_it_was_named() -> None:
    over = date(2026, 11, 30)
    made = plan(wanted("november", Item("a", 1), ends=over), wanted("asked", Item("a", 1), ends=over, named=True))
    assert done(made) == [("asked", "a", "fetch")]
    assert made.ended == ("november",)


def test_the_last_day_of_an_exhibition_still_counts() -> None:
    assert done(plan(wanted("c", Item("a", 1), ends=TODAY))) == [("c", "a", "fetch")]


def test_required_items_come_first_then_priority_then_the_order_of_the_list() -> None:
    items = (
        Item("extra", 1, required=False, priority=900),
        Item("third", 1),
        Item("first", 1, priority=5),
        Item("fourth", 1),
    )
    assert [step.item.name for step in plan(wanted("c", *items)).steps] == ["first", "third", "fourth", "extra"]


def test_what_does_not_fit_is_refused_and_what_fits_goes_on() -> None:
    made = plan(
        wanted("c", Item("big", 80), Item("small", 30), Item("tiny", 20)), wanted("d", Item("x", 40)), free=[100]
    )
    assert done(made) == [("c", "big", "fetch"), ("c", "small", "refuse"), ("c", "tiny", "fetch"), ("d", "x", "refuse")]
    refused = made.steps[1]
    assert (refused.code, refused.reason) == ("NO_SPACE", "30 bytes are still to be fetched and 20 bytes may be used")


def test_bytes_already_begun_need_no_room() -> None:
    found = {("c", "a"): [Found(part=70)]}
    assert done(plan(wanted("c", Item("a", 100)), free=[30], found=found)) == [("c", "a", "fetch")]
    assert done(plan(wanted("c", Item("a", 100)), free=[29], found=found)) == [("c", "a", "refuse")]


def test_what_is_whole_is_kept_even_without_room() -> None:
    found = {("c", "a"): [Found(final="whole")], ("c", "b"): [Found(beside=True)]}
    made = plan(wanted("c", Item("a", 100), Item("b", 100)), free=[-5], found=found)
    assert done(made) == [("c", "a", "keep"), ("c", "b", "keep")]
    assert [step.beside for step in made.steps] == [False, True]


def test_a_file_nothing_is_known_about_is_read_not_fetched() -> None:
    made = plan(wanted("c", Item("a", 100)), found={("c", "a"): [Found(final="unchecked")]}, free=[0])
    assert done(made) == [("c", "a", "verify")]


def test_directories_are_filled_by_free_space_and_an_item_stays_where_it_is() -> None:
    items = [Item(name, 40) for name in "abcd"]
    found = {("c", "d"): [Found(part=1), NOTHING]}
    made = plan(wanted("c", *items), free=[100, 130], found={key: found.get(key, [NOTHING, NOTHING]) for key in found})
    assert [step.store for step in made.steps] == [1, 0, 1, 0]


def test_a_new_version_is_put_beside_the_one_in_use() -> None:
    one = Wanted("c", Manifest((Item("a", 1),)), replacing=True)
    assert plan(one, found={("c", "a"): [Found(final="other")]}).steps[0].beside


def test_what_failed_for_good_is_left_and_takes_no_room() -> None:
    made = plan(wanted("c", Item("bad", 90), Item("good", 50)), free=[100], barred={("c", "bad"): "HASH_MISMATCH"})
    assert done(made) == [("c", "bad", "leave"), ("c", "good", "fetch")]
    assert made.steps[0].code == "HASH_MISMATCH"


SIZES = st.integers(0, 10**12)
ITEMS = st.lists(SIZES, max_size=12).map(lambda sizes: [Item(f"i{at}", size) for at, size in enumerate(sizes)])


@given(items=ITEMS, free=st.lists(st.integers(-(10**9), 10**12), min_size=1, max_size=4))
def test_never_more_is_begun_than_fits(items: list[Item], free: list[int]) -> None:
    made = plan(wanted("c", *items), free=free)
    for store, room in enumerate(free):
        assert sum(step.missing for step in made.steps if step.store == store) <= max(0, room)


@given(items=ITEMS, free=st.lists(st.integers(0, 10**12), min_size=1, max_size=4))
def test_every_item_gets_exactly_one_step(items: list[Item], free: list[int]) -> None:
    made = plan(wanted("c", *items), free=free)
    assert sorted(step.item.name for step in made.steps) == sorted(item.name for item in items)
    assert {step.action for step in made.steps} <= {"fetch", "refuse"}


@pytest.mark.parametrize("free", [[0], [0, 0]])
def test_an_empty_item_fits_a_full_disk(free: list[int]) -> None:
    assert done(plan(wanted("c", Item("a", 0)), free=free)) == [("c", "a", "fetch")]
