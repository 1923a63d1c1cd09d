"""The plan by tables: order, queue, time, space, placement, and removals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from loader.contract.manifest import Exhibition, Item, Manifest
from loader.contract.transfer_queue import QueueEntry, TransferQueue
from loader.errors import Code
from loader.planning.model import DiskSpace, Plan, PlanningContext, Removal, TargetCampaign
from loader.planning.planner import make_plan
from loader.storage.inventory import CampaignOnDisk, FileState, ItemKey, LocalItemState, merge_stores

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
TODAY = NOW.date()
LATER, EARLIER = NOW + timedelta(hours=3), NOW - timedelta(hours=3)
NOTHING = LocalItemState()
OVER = date(2026, 11, 30)


def wanted(
    campaign: str, *items: Item, starts: date | None = None, ends: date | None = None, named: bool = False
) -> TargetCampaign:
    return TargetCampaign(campaign, Manifest(items, exhibition=Exhibition(starts, ends)), named)


def simple(campaign: str, *names: str, size: int = 1, ends: date | None = None, named: bool = False) -> TargetCampaign:
    return wanted(campaign, *(Item(name, size) for name in names), ends=ends, named=named)


def plan(
    *campaigns: TargetCampaign,
    free: Sequence[int | DiskSpace] = (10**12,),
    found: Mapping[tuple[str, str], Sequence[LocalItemState]] | None = None,
    barred: Mapping[tuple[str, str], Code] | None = None,
    queue: Sequence[QueueEntry] | None = None,
    on_disk: Sequence[CampaignOnDisk] = (),
    first: Sequence[tuple[str, str | None]] = (),
    named: Sequence[str] = (),
    seconds_left: float | None = None,
    rate: int | None = None,
    now: datetime = NOW,
    store: datetime | None = NOW,
) -> Plan:
    rooms = [room if isinstance(room, DiskSpace) else DiskSpace(room, device) for device, room in enumerate(free)]

    def find(campaign: str, item: Item) -> Sequence[LocalItemState]:
        return (found or {}).get((campaign, item.name), [NOTHING] * len(rooms))

    return make_plan(
        campaigns,
        find,
        rooms,
        PlanningContext(now, seconds_left, rate, store),
        queue=None if queue is None else TransferQueue(1, tuple(queue)),
        on_disk=on_disk,
        requested=first,
        named=named,
        blocked={ItemKey(*key): code for key, code in (barred or {}).items()},
    )


def done(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.campaign, step.item.name, step.action) for step in plan.steps]


def names(plan: Plan) -> list[str]:
    return [step.item.name for step in plan.steps]


# Order without a queue.


def test_the_nearest_start_comes_first_and_no_date_means_today() -> None:
    made = plan(
        wanted("january", Item("a", 1), starts=date(2027, 1, 1)),
        wanted("plain", Item("a", 1)),
        wanted("december", Item("a", 1), starts=date(2026, 12, 1), ends=date(2026, 12, 31)),
    )
    assert [step.campaign for step in made.steps] == ["december", "plain", "january"]


def test_an_ended_exhibition_is_passed_over_unless_it_was_named() -> None:
    made = plan(simple("november", "a", ends=OVER), simple("asked", "a", ends=OVER, named=True))
    assert done(made) == [("asked", "a", "fetch")]
    assert made.ended == ("november",)


def test_the_last_day_of_an_exhibition_still_counts() -> None:
    assert done(plan(simple("c", "a", ends=TODAY))) == [("c", "a", "fetch")]


def test_required_items_come_first_then_priority_then_the_order_of_the_list() -> None:
    items = (
        Item("extra", 1, required=False, priority=900),
        Item("third", 1),
        Item("first", 1, priority=5),
        Item("fourth", 1),
    )
    assert names(plan(wanted("c", *items))) == ["first", "third", "fourth", "extra"]


def test_items_that_finish_before_the_window_closes_come_first() -> None:
    items = (Item("long", 1000, priority=9), Item("short", 100), Item("optional", 1, required=False))
    found = {("c", "begun"): [LocalItemState(bytes_done=950)]}
    campaign = wanted("c", *items, Item("begun", 1000))
    assert names(plan(campaign, found=found)) == ["long", "short", "begun", "optional"]
    assert names(plan(campaign, found=found, seconds_left=10, rate=10)) == ["short", "begun", "long", "optional"]
    assert names(plan(campaign, found=found, seconds_left=10)) == ["long", "short", "begun", "optional"]


# The transfer queue.


def test_a_queue_is_done_by_priority_then_deadline_then_its_own_order() -> None:
    queue = [
        QueueEntry("low", priority=-5, deadline=EARLIER),
        QueueEntry("second"),
        QueueEntry("third"),
        QueueEntry("due", deadline=LATER),
        QueueEntry("sooner", deadline=EARLIER),
        QueueEntry("high", priority=7),
    ]
    made = plan(*(simple(name, "a") for name in ("third", "second", "low", "due", "high", "sooner")), queue=queue)
    assert [step.campaign for step in made.steps] == ["high", "sooner", "due", "second", "third", "low"]
    assert [(step.priority, step.deadline) for step in made.steps[:2]] == [(7, None), (0, EARLIER)]


def test_a_campaign_missing_from_the_queue_loads_only_with_the_campaign_option() -> None:
    campaigns = [simple("queued", "a"), simple("other", "a"), simple("named", "a", named=True)]
    assert done(plan(*campaigns, queue=[QueueEntry("queued")])) == [("queued", "a", "fetch"), ("named", "a", "fetch")]
    assert done(plan(*campaigns, queue=[])) == [("named", "a", "fetch")]


def test_a_queue_may_ask_for_what_has_ended() -> None:
    assert done(plan(simple("november", "a", ends=OVER), queue=[QueueEntry("november")])) == [
        ("november", "a", "fetch")
    ]


def test_an_entry_of_some_items_makes_steps_of_these_only() -> None:
    made = plan(
        simple("c", "a", "b", "c"), simple("d", "a"), queue=[QueueEntry("c", ("b", "not listed")), QueueEntry("d")]
    )
    assert done(made) == [("c", "b", "fetch"), ("d", "a", "fetch")]


def test_an_entry_of_no_items_is_not_one_of_all() -> None:
    assert plan(simple("c", "a"), queue=[QueueEntry("c", ())]).steps == ()


def test_the_first_entry_that_names_an_item_decides_for_it() -> None:
    queue = [QueueEntry("c"), QueueEntry("d"), QueueEntry("c", ("film",), priority=9)]
    made = plan(simple("c", "a", "film"), simple("d", "x"), queue=queue)
    assert done(made) == [("c", "film", "fetch"), ("c", "a", "fetch"), ("d", "x", "fetch")]


def test_campaigns_that_may_not_start_yet_are_deferred() -> None:
    queue = [
        QueueEntry("c", ("film",), priority=9),
        QueueEntry("c", not_before=LATER),
        QueueEntry("d", not_before=LATER + timedelta(hours=1)),
        QueueEntry("e", not_before=EARLIER),
    ]
    made = plan(simple("c", "a", "film"), simple("d", "a"), simple("e", "a"), queue=queue)
    assert done(made) == [("c", "film", "fetch"), ("e", "a", "fetch")]
    assert made.deferred == (("c", LATER), ("d", LATER + timedelta(hours=1)))
    assert made.next_change == LATER


def test_a_deferred_item_remains_deferred_despite_a_later_entry_of_all() -> None:
    queue = [QueueEntry("c", ("film",), priority=9, not_before=LATER), QueueEntry("c")]
    assert names(plan(simple("c", "a", "film"), queue=queue)) == ["a"]


def test_a_campaign_with_a_later_purge_is_loaded_until_then() -> None:
    queue = [QueueEntry("c", action="purge", priority=9, not_before=LATER), QueueEntry("c")]
    made = plan(simple("c", "a"), queue=queue, on_disk=[CampaignOnDisk("c", bytes=(5,))])
    assert (names(made), made.removals, made.next_change) == (["a"], (), LATER)


def test_an_action_that_is_not_known_here_is_passed_over() -> None:
    queue = [QueueEntry("c", action="polish", priority=9, not_before=LATER), QueueEntry("c")]
    made = plan(simple("c", "a"), queue=queue)
    assert (names(made), made.deferred) == (["a"], ())


def test_a_queue_without_entries_is_as_no_queue() -> None:
    made = make_plan(
        [simple("c", "a")],
        lambda _campaign, _item: [NOTHING],
        [DiskSpace(9, 1)],
        PlanningContext(NOW),
        queue=TransferQueue(3, None),
    )
    assert names(made) == ["a"]


def test_local_requests_come_first_the_newest_before_the_others() -> None:
    campaigns = [
        wanted("c", Item("a", 1), Item("b", 1, required=False)),
        wanted("d", Item("x", 1), Item("y", 1)),
        simple("e", "z"),
    ]
    queue = [QueueEntry("c", priority=100), QueueEntry("d"), QueueEntry("e")]
    made = plan(*campaigns, queue=queue, first=[("d", "y"), ("c", "b"), ("e", None), ("d", None), ("gone", None)])
    assert names(made) == ["y", "b", "z", "x", "a"]


# Space.


def test_items_that_do_not_fit_are_refused_and_others_are_loaded() -> None:
    made = plan(
        wanted("c", Item("big", 80), Item("small", 30), Item("tiny", 20)), wanted("d", Item("x", 40)), free=[100]
    )
    assert done(made) == [("c", "big", "fetch"), ("c", "small", "refuse"), ("c", "tiny", "fetch"), ("d", "x", "refuse")]
    refused = made.steps[1]
    assert (refused.code, refused.reason) == ("NO_SPACE", "30 bytes are still to be fetched and 20 bytes may be used")


def test_bytes_already_begun_need_no_room() -> None:
    found = {("c", "a"): [LocalItemState(bytes_done=70)]}
    assert done(plan(simple("c", "a", size=100), free=[30], found=found)) == [("c", "a", "fetch")]
    assert done(plan(simple("c", "a", size=100), free=[29], found=found)) == [("c", "a", "refuse")]


def test_complete_items_are_not_removed_for_lack_of_space() -> None:
    found = {("c", "a"): [LocalItemState(file=FileState.COMPLETE)], ("c", "b"): [LocalItemState(staged=True)]}
    made = plan(simple("c", "a", "b", size=100), free=[-5], found=found)
    assert done(made) == [("c", "a", "keep"), ("c", "b", "keep")]
    assert [step.staged for step in made.steps] == [False, True]


def test_the_same_content_is_linked_without_room_and_counts_as_at_hand() -> None:
    found = {
        ("c", "a"): [NOTHING, LocalItemState(linkable=True)],
        ("c", "b"): [LocalItemState(bytes_done=9, linkable=True), NOTHING],
    }
    made = plan(simple("c", "a", "b", size=100), free=[0, 0], found=found, barred={("c", "a"): Code.HASH_MISMATCH})
    assert [(step.action, step.store, step.missing) for step in made.steps] == [("link", 1, 0), ("link", 0, 0)]


def test_a_new_version_is_linked_beside_the_one_in_use() -> None:
    one = TargetCampaign("c", Manifest((Item("a", 1),)), replacing=True)
    step = plan(one, found={("c", "a"): [LocalItemState(file=FileState.OTHER, linkable=True)]}).steps[0]
    assert (step.action, step.staged) == ("link", True)


def test_a_file_nothing_is_known_about_is_read_not_fetched() -> None:
    made = plan(simple("c", "a", size=100), found={("c", "a"): [LocalItemState(file=FileState.UNVERIFIED)]}, free=[0])
    assert done(made) == [("c", "a", "verify")]


def test_directories_are_filled_by_free_space_and_items_are_not_moved() -> None:
    found = {("c", "d"): [LocalItemState(bytes_done=1), NOTHING]}
    made = plan(simple("c", "a", "b", "c", "d", size=40), free=[100, 130], found=found)
    assert [step.store for step in made.steps] == [1, 0, 1, 0]


def test_an_item_moves_on_where_its_own_directory_is_full() -> None:
    found = {
        ("c", "a"): [LocalItemState(bytes_done=10), NOTHING, NOTHING],
        ("c", "b"): [LocalItemState(file=FileState.OTHER), NOTHING, NOTHING],
    }
    made = plan(simple("c", "a", "b", size=40), free=[29, 50, 60], found=found)
    assert [(step.store, step.bytes_done) for step in made.steps] == [(2, 0), (1, 0)]


def test_two_directories_of_one_device_share_its_room() -> None:
    made = plan(simple("c", "a", "b", size=60), free=[DiskSpace(100, 7), DiskSpace(90, 7)])
    assert [step.action for step in made.steps] == ["fetch", "refuse"]
    made = plan(simple("c", "a", "b", size=45), free=[DiskSpace(100, 7), DiskSpace(90, 7)])
    assert [step.action for step in made.steps] == ["fetch", "fetch"]


def test_a_new_version_is_put_beside_the_one_in_use() -> None:
    one = TargetCampaign("c", Manifest((Item("a", 1),)), replacing=True)
    assert plan(one, found={("c", "a"): [LocalItemState(file=FileState.OTHER)]}).steps[0].staged


def test_permanently_failed_items_are_skipped_and_reserve_no_space() -> None:
    made = plan(wanted("c", Item("bad", 90), Item("good", 50)), free=[100], barred={("c", "bad"): Code.HASH_MISMATCH})
    assert done(made) == [("c", "bad", "blocked"), ("c", "good", "fetch")]
    assert made.steps[0].code == "HASH_MISMATCH"


@pytest.mark.parametrize("free", [[0], [0, 0]])
def test_an_empty_item_fits_a_full_disk(free: list[int]) -> None:
    assert done(plan(simple("c", "a", size=0), free=free)) == [("c", "a", "fetch")]


# Removals.

DECEMBER = CampaignOnDisk("december", date(2026, 12, 1), date(2026, 12, 31), True, (10,))
NOVEMBER = CampaignOnDisk("november", date(2026, 11, 1), OVER, True, (40,))
OCTOBER = CampaignOnDisk("october", date(2026, 10, 1), date(2026, 10, 31), True, (40,))
UNDATED = CampaignOnDisk("undated", is_complete=True, bytes=(10,))


def removed(plan: Plan) -> list[str]:
    return [removal.campaign for removal in plan.removals]


def test_ended_campaigns_are_not_removed_while_space_is_free() -> None:
    assert removed(plan(simple("c", "a", size=50), free=[50], on_disk=[OCTOBER, NOVEMBER, DECEMBER])) == []


@pytest.mark.parametrize(
    ("size", "expected_removals"),
    [(50, []), (51, ["october"]), (90, ["october"]), (91, ["october", "november"]), (131, [])],
)
def test_for_room_the_longest_ended_goes_first_and_no_more_than_needed(size: int, expected_removals: list[str]) -> None:
    made = plan(simple("c", "a", size=size), free=[50], on_disk=[DECEMBER, NOVEMBER, OCTOBER])
    assert removed(made) == expected_removals
    assert [step.action for step in made.steps] == ["fetch" if size <= 130 else "refuse"]


def test_of_those_that_would_go_none_goes_that_is_not_needed() -> None:
    small = CampaignOnDisk("october", date(2026, 10, 1), date(2026, 10, 31), True, (5,))
    made = plan(simple("c", "a", size=85), free=[50], on_disk=[DECEMBER, NOVEMBER, small])
    assert removed(made) == ["november"]


def test_a_removal_has_a_reason() -> None:
    made = plan(simple("c", "a", size=51), free=[50], on_disk=[DECEMBER, OCTOBER])
    assert made.removals == (
        Removal("october", None, "its exhibition ended on 2026-10-31, and space is needed"),
    )  # fmt: skip


def test_removals_free_space_on_the_disk_that_needs_it() -> None:
    elsewhere = CampaignOnDisk("october", ends=date(2026, 10, 31), bytes=(0, 500))
    here = CampaignOnDisk("november", ends=OVER, bytes=(30, 0))
    made = plan(
        simple("c", "a", size=60),
        free=[40, 0],
        on_disk=[elsewhere, here, DECEMBER],
        found={("c", "a"): [LocalItemState(bytes_done=5), NOTHING]},
    )
    assert (removed(made), made.steps[0].store) == (["november"], 0)


def test_freed_space_is_available_to_the_next_item() -> None:
    made = plan(simple("c", "a", "b", size=20), free=[0], on_disk=[DECEMBER, OCTOBER, NOVEMBER])
    assert removed(made) == ["october"]
    assert [step.action for step in made.steps] == ["fetch", "fetch"]


def test_link_sources_are_not_counted_as_freed() -> None:
    found = {("c", "a"): [LocalItemState(linkable=True)]}
    made = plan(wanted("c", Item("a", 30), Item("b", 60)), free=[50], found=found, on_disk=[DECEMBER, NOVEMBER])
    assert [step.action for step in made.steps] == ["link", "fetch"]
    made = plan(wanted("c", Item("a", 31), Item("b", 60)), free=[50], found=found, on_disk=[DECEMBER, NOVEMBER])
    assert [step.action for step in made.steps] == ["link", "refuse"]


def test_wanted_named_and_future_content_is_not_removed_for_space() -> None:
    campaign, room = simple("c", "a", size=51), {"free": [50], "on_disk": [DECEMBER, NOVEMBER]}
    found_items = {("november", "x"): [LocalItemState(file=FileState.COMPLETE)]}
    november = simple("november", "x", ends=OVER)
    named = simple("november", "x", ends=OVER, named=True)
    assert removed(plan(campaign, november, **room, found=found_items)) == ["november"]  # type: ignore[arg-type]
    assert removed(plan(campaign, named, **room, found=found_items)) == []  # type: ignore[arg-type]
    for entry in (QueueEntry("november"), QueueEntry("november", not_before=LATER)):
        queue = [QueueEntry("c"), entry]
        assert removed(plan(campaign, november, **room, found=found_items, queue=queue)) == []  # type: ignore[arg-type]


def test_the_last_started_campaign_is_current_without_a_running_exhibition() -> None:
    made = plan(simple("c", "a", size=91), free=[50], on_disk=[NOVEMBER, OCTOBER])
    assert (removed(made), [step.action for step in made.steps]) == ([], ["refuse"])
    coming = CampaignOnDisk("january", date(2027, 1, 1), date(2027, 1, 31), True, (10,))
    assert removed(plan(simple("c", "a", size=60), free=[50], on_disk=[coming, NOVEMBER, OCTOBER])) == ["october"]


def test_the_dates_of_a_manifest_replace_the_stored_ones() -> None:
    prolonged = simple("november", "x", ends=date(2026, 12, 20))
    made = plan(
        simple("c", "a", size=51),
        prolonged,
        free=[50],
        on_disk=[DECEMBER, NOVEMBER],
        found={("november", "x"): [LocalItemState(file=FileState.COMPLETE)]},
    )
    assert removed(made) == []


def test_the_queue_purges_campaigns_on_disk_and_frees_their_space() -> None:
    queue = [QueueEntry("october", action="purge"), QueueEntry("not aboard", action="purge"), QueueEntry("c")]
    made = plan(simple("c", "a", size=90), free=[50], on_disk=[DECEMBER, OCTOBER], queue=queue)
    assert made.removals == (Removal("october", None, "requested by the transfer queue"),)
    assert done(made) == [("c", "a", "fetch")]


def test_the_current_campaign_is_not_purged_even_if_the_queue_requests_it() -> None:
    queue = [QueueEntry("december", action="purge"), QueueEntry("november", ("x",), action="purge")]
    made = plan(on_disk=[DECEMBER], queue=queue)
    assert (made.removals, made.refused_removals) == ((), (("december", "it is in use: its exhibition is on"),))
    made = plan(on_disk=[NOVEMBER, OCTOBER], queue=queue)
    assert made.refused_removals == (("november", "it is in use: no later exhibition is on the aircraft"),)


def test_a_campaign_without_dates_is_in_use_while_it_is_complete_and_wanted() -> None:
    campaign, purge = simple("undated", "a", "b"), QueueEntry("undated", ("b",), action="purge", priority=9)
    assert removed(plan(campaign, on_disk=[UNDATED], queue=[purge])) == ["undated"]
    made = plan(campaign, on_disk=[UNDATED], queue=[purge, QueueEntry("undated")])
    assert (made.removals, made.refused_removals) == ((), (("undated", "it is in use: it may be shown on any day"),))


def test_campaigns_of_the_campaign_option_are_not_purged() -> None:
    made = plan(
        simple("october", "a", named=True), on_disk=[DECEMBER, OCTOBER], queue=[QueueEntry("october", action="purge")]
    )
    assert made.removals == ()
    assert made.refused_removals == (("october", "the --campaign option names it"),)
    assert names(made) == ["a"]


def test_wanted_campaigns_with_an_unreadable_manifest_are_not_removed() -> None:
    stored = [DECEMBER, NOVEMBER]
    assert removed(plan(simple("c", "a", size=51), free=[50], on_disk=stored, queue=[QueueEntry("c")])) == ["november"]
    wish = [QueueEntry("c"), QueueEntry("november")]
    assert removed(plan(simple("c", "a", size=51), free=[50], on_disk=stored, queue=wish)) == []
    assert removed(plan(simple("c", "a", size=51), free=[50], on_disk=stored, named=["november"])) == []
    purge = [QueueEntry("november", action="purge")]
    assert removed(plan(on_disk=stored, queue=purge)) == ["november"]
    refused = plan(on_disk=stored, queue=purge, named=["november"])
    assert refused.refused_removals == (("november", "the --campaign option names it"),)
    assert refused.removals == ()


def test_items_that_are_not_on_disk_are_not_purged_repeatedly() -> None:
    queue = [QueueEntry("c", ("a", "b"), action="purge"), QueueEntry("december", ("a",), action="purge")]
    stored = [replace(DECEMBER, content=frozenset("x")), CampaignOnDisk("c", bytes=(1,), content=frozenset("bx"))]
    made = plan(simple("c", "a", "b", "x"), on_disk=stored, queue=queue)
    assert (made.removals, made.refused_removals) == ((Removal("c", ("b",), "requested by the transfer queue"),), ())
    assert plan(on_disk=[DECEMBER, replace(stored[1], content=frozenset("x"))], queue=queue[:1]).removals == ()


def test_some_items_are_purged_and_others_loaded() -> None:
    queue = [
        QueueEntry("c", ("a", "b"), action="purge", priority=5),
        QueueEntry("c", ("b", "d"), priority=9),
        QueueEntry("c"),
    ]
    made = plan(simple("c", "a", "b", "d", "e"), on_disk=[DECEMBER, CampaignOnDisk("c", bytes=(1,))], queue=queue)
    assert names(made) == ["b", "d", "e"]
    assert made.removals == (Removal("c", ("a",), "requested by the transfer queue"),)


def test_items_requested_before_a_purge_of_their_campaign_are_preserved() -> None:
    queue = [QueueEntry("c", ("b",), priority=9), QueueEntry("c", action="purge")]
    made = plan(simple("c", "a", "b", "d"), on_disk=[DECEMBER, CampaignOnDisk("c", bytes=(1,))], queue=queue)
    assert (names(made), made.removals) == (["b"], (Removal("c", ("a", "d"), "requested by the transfer queue"),))


def test_a_campaign_without_a_manifest_may_be_purged() -> None:
    stored = [DECEMBER, CampaignOnDisk("c", bytes=(1,))]
    assert plan(on_disk=stored, queue=[QueueEntry("c", action="purge")]).removals[0].content is None
    assert plan(on_disk=stored, queue=[QueueEntry("c", ("a",), action="purge")]).removals[0].content == ("a",)
    refused = plan(on_disk=stored, queue=[QueueEntry("c", ("a",), priority=1), QueueEntry("c", action="purge")])
    assert (refused.removals, [campaign for campaign, _ in refused.refused_removals]) == ((), ["c"])
    assert plan(on_disk=stored, queue=[QueueEntry("c", priority=1), QueueEntry("c", action="purge")]).removals == ()


def test_states_of_a_campaign_in_several_directories_are_merged() -> None:
    one = CampaignOnDisk("c", date(2026, 1, 1), None, False, (5,), frozenset("a"))
    two = CampaignOnDisk("c", None, TODAY, True, (7,), frozenset("ab"))
    assert merge_stores([[one], [], [two, DECEMBER]]) == (
        CampaignOnDisk("c", date(2026, 1, 1), TODAY, True, (5, 0, 7), frozenset("ab")),
        CampaignOnDisk("december", DECEMBER.starts, DECEMBER.ends, True, (0, 0, 10)),
    )


# An untrusted clock.

LARGE = simple("c", "a", size=51)
AHEAD, BEHIND = NOW + timedelta(days=40), NOW - timedelta(days=40)


@pytest.mark.parametrize(
    ("now", "store", "why"),
    [
        (AHEAD, NOW, "the local clock is 40 days ahead of the store's"),
        (NOW + timedelta(days=5000), NOW, "the local clock is 5,000 days ahead of the store's"),
        (NOW, AHEAD, "the local clock is 40 days behind the store's"),
        (NOW + timedelta(minutes=16), NOW, "the local clock is 16 minutes ahead of the store's"),
        (NOW, NOW + timedelta(hours=3), "the local clock is 3 hours behind the store's"),
        (NOW, None, "the store has not answered yet, so the local clock cannot be trusted"),
    ],
)
def test_for_room_nothing_is_removed_while_the_store_does_not_confirm_the_clock(
    now: datetime, store: datetime | None, why: str
) -> None:
    made = plan(LARGE, free=[50], on_disk=[DECEMBER, OCTOBER], now=now, store=store)
    assert removed(made) == []
    assert made.steps[0].reason == (
        f"51 bytes are still to be fetched and 50 bytes may be used; nothing is removed to free space: {why}"
    )


@pytest.mark.parametrize("minutes", [-15, -1, 0, 1, 15])
def test_for_room_what_has_ended_goes_while_the_store_confirms_the_clock(minutes: int) -> None:
    now = NOW + timedelta(minutes=minutes)
    assert removed(plan(LARGE, free=[50], on_disk=[DECEMBER, OCTOBER], now=now)) == ["october"]


def test_a_clock_that_is_a_little_ahead_removes_nothing_on_its_last_day() -> None:
    midnight = datetime(2027, 1, 1, tzinfo=UTC)
    stored, early = (
        [DECEMBER, CampaignOnDisk("january", date(2027, 1, 1), date(2027, 1, 31), True, (10,))],
        timedelta(minutes=5),
    )
    made = plan(simple("c", "a", size=51), free=[50], on_disk=stored, now=midnight + early, store=midnight - early)
    assert removed(made) == []
    made = plan(simple("c", "a", size=51), free=[50], on_disk=stored, now=midnight + early, store=midnight)
    assert removed(made) == ["december"]


@pytest.mark.parametrize(("now", "store"), [(AHEAD, NOW), (BEHIND, NOW), (NOW, AHEAD), (NOW, BEHIND)])
def test_a_campaign_current_by_either_clock_is_not_purged(now: datetime, store: datetime) -> None:
    coming = CampaignOnDisk("january", date(2027, 1, 1), date(2027, 1, 31), True, (10,))
    made = plan(
        on_disk=[DECEMBER, coming, OCTOBER],
        queue=[QueueEntry("december", action="purge"), QueueEntry("october", action="purge")],
        now=now,
        store=store,
    )
    assert made.refused_removals[0] == ("december", "it is in use: its exhibition is on")
    assert removed(made) == []


def test_only_campaigns_without_dates_are_purged_before_the_first_response_of_the_store() -> None:
    queue = [QueueEntry("october", action="purge"), QueueEntry("undated", action="purge")]
    made = plan(on_disk=[DECEMBER, OCTOBER, UNDATED], queue=queue, store=None)
    assert removed(made) == ["undated"]
    assert made.refused_removals == (
        ("october", "the store has not answered yet, so the local clock cannot be trusted"),
    )  # fmt: skip


@pytest.mark.parametrize(("now", "store"), [(AHEAD, NOW), (NOW, AHEAD), (AHEAD, BEHIND), (AHEAD, None)])
def test_a_purge_that_was_put_off_waits_until_the_store_confirms_the_clock(
    now: datetime, store: datetime | None
) -> None:
    queue = [QueueEntry("undated", action="purge", not_before=NOW + timedelta(days=20))]
    made = plan(on_disk=[DECEMBER, UNDATED], queue=queue, now=now, store=store)
    assert (removed(made), made.next_change is None) == ([], now == AHEAD)
    assert [campaign for campaign, _ in made.refused_removals] == (["undated"] if now == AHEAD else [])
    assert removed(plan(on_disk=[DECEMBER, UNDATED], queue=queue, now=AHEAD, store=AHEAD)) == ["undated"]


def test_a_deferred_removal_of_a_campaign_not_on_disk_is_not_reported() -> None:
    queue = [QueueEntry("gone", action="purge", not_before=NOW)]
    assert plan(on_disk=[DECEMBER], queue=queue, now=AHEAD, store=NOW).refused_removals == ()


@pytest.mark.parametrize(("now", "why"), [(AHEAD, "40 days ahead of"), (BEHIND, "40 days behind")])
def test_no_queue_entry_removes_content_while_the_clocks_differ(now: datetime, why: str) -> None:
    queue = [QueueEntry("undated", action="purge"), QueueEntry("august", ("a",), action="purge")]
    august = CampaignOnDisk("august", date(2020, 8, 1), date(2020, 8, 31), True, (10,), frozenset({"a"}))
    now_shown = CampaignOnDisk("now", date(2026, 1, 1), date(2028, 1, 1), True, (10,))
    made = plan(on_disk=[UNDATED, august, now_shown], queue=queue, now=now)
    assert removed(made) == []
    assert made.refused_removals == tuple(
        (name, f"the local clock is {why} the store's") for name in ("undated", "august")
    )
    assert removed(plan(on_disk=[UNDATED, august, now_shown], queue=queue)) == ["undated", "august"]


@pytest.mark.parametrize("store", [None, NOW])
@pytest.mark.parametrize("jump", [timedelta(days=40), timedelta(days=5000)])
def test_the_end_of_a_campaign_requires_the_store_clock(jump: timedelta, store: datetime | None) -> None:
    made = plan(simple("december", "a", ends=date(2026, 12, 31)), now=NOW + jump, store=store)
    assert made.ended == (() if store else ("december",))
    assert done(made) == ([("december", "a", "fetch")] if store else [])


@pytest.mark.parametrize("now", [AHEAD, BEHIND, NOW - timedelta(days=20_000)])
def test_campaigns_ended_by_one_of_two_clocks_are_loaded_last(now: datetime) -> None:
    campaigns = [
        simple("november", "a", ends=OVER),
        simple("december", "a", ends=date(2027, 2, 28)),
        simple("any", "a"),
    ]
    made = plan(*campaigns, now=now)
    assert sorted(step.campaign for step in made.steps[:2]) == ["any", "december"]
    assert [step.campaign for step in made.steps[2:]] == ([] if now == AHEAD else ["november"])


@pytest.mark.parametrize(
    ("now", "store", "loaded"),
    [
        (NOW, NOW, False),
        (AHEAD, NOW, False),
        (NOW, AHEAD, False),
        (AHEAD, AHEAD, True),
        (AHEAD, None, True),
        (AHEAD + timedelta(days=5000), AHEAD, True),
    ],
)
def test_a_load_that_was_put_off_waits_until_both_clocks_agree_that_it_is_due(
    now: datetime, store: datetime | None, loaded: bool
) -> None:
    queue = [QueueEntry("c", not_before=NOW + timedelta(days=20))]
    made = plan(simple("c", "a"), queue=queue, now=now, store=store)
    assert done(made) == ([("c", "a", "fetch")] if loaded else [])
    assert bool(made.deferred) is not loaded


def test_loading_goes_on_while_the_clock_cannot_be_trusted() -> None:
    assert done(plan(simple("c", "a"), now=AHEAD)) == [("c", "a", "fetch")]
    assert done(plan(simple("c", "a"), store=None)) == [("c", "a", "fetch")]
