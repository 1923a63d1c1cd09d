"""The plan by properties: it never exceeds the space, keeps the order, and removes nothing current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from loader.contract.manifest import Exhibition, Item, Manifest
from loader.contract.transfer_queue import QueueEntry, TransferQueue
from loader.planning.model import DiskSpace, Plan, PlanningContext, PlanStep, TargetCampaign
from loader.planning.planner import make_plan
from loader.planning.priorities import has_ended
from loader.storage.inventory import CampaignOnDisk, FileState, LocalItemState
from tests.support.profiles import scaled

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
TODAY = NOW.date()
NAMES = ("a", "b", "c", "d")
SHORT = settings(max_examples=scaled(400, quick=30), deadline=None)
CAMPAIGNS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class World:
    """All inputs of a plan."""

    wanted: tuple[TargetCampaign, ...]
    found: dict[tuple[str, str], tuple[LocalItemState, ...]]
    rooms: tuple[DiskSpace, ...]
    orders: TransferQueue | None
    campaigns_on_disk: tuple[CampaignOnDisk, ...]
    first: tuple[tuple[str, str | None], ...]
    moment: PlanningContext

    def plan(
        self,
        orders: TransferQueue | None = None,
        found: dict[tuple[str, str], tuple[LocalItemState, ...]] | None = None,
    ) -> Plan:
        there = self.found if found is None else found

        def find(campaign: str, item: Item) -> Sequence[LocalItemState]:
            return there[campaign, item.name]

        return make_plan(
            self.wanted,
            find,
            self.rooms,
            self.moment,
            queue=orders or self.orders,
            on_disk=self.campaigns_on_disk,
            requested=self.first,
        )

    def free(self, device: int) -> int:
        return min(room.free for room in self.rooms if room.device == device)


DAYS = st.none() | st.integers(-60, 60).map(lambda days: TODAY + timedelta(days=days))
TIMES = st.none() | st.integers(-5, 5).map(lambda hours: NOW + timedelta(hours=hours))
STORE_CLOCKS = st.sampled_from(
    [NOW] * 5 + [None, NOW - timedelta(minutes=5), NOW + timedelta(days=40), NOW - timedelta(days=40)]
)
FOUND = st.sampled_from(
    [LocalItemState()] * 4
    + [
        LocalItemState(FileState.COMPLETE),
        LocalItemState(FileState.UNVERIFIED),
        LocalItemState(FileState.OTHER),
        LocalItemState(staged=True),
        LocalItemState(linkable=True),
        LocalItemState(bytes_done=7),
    ]
)
CONTENT = st.none() | st.lists(st.sampled_from(NAMES), max_size=3).map(tuple)
ENTRIES = st.builds(
    QueueEntry,
    campaign=st.sampled_from(CAMPAIGNS),
    content=CONTENT,
    action=st.sampled_from(["load", "load", "purge"]),
    priority=st.integers(-2, 2),
    not_before=TIMES,
    deadline=TIMES,
)
ITEMS = st.lists(
    st.builds(
        Item,
        name=st.sampled_from(NAMES),
        size=st.integers(7, 60),
        required=st.booleans(),
        priority=st.integers(-1, 1),
    ),
    max_size=4,
    unique_by=lambda item: item.name,
)


@st.composite
def worlds(draw: st.DrawFn, most_rooms: int = 3) -> World:
    rooms = draw(
        st.lists(st.builds(DiskSpace, st.integers(-10, 150), st.integers(0, 1)), min_size=1, max_size=most_rooms)
    )
    wanted = [
        TargetCampaign(
            campaign,
            Manifest(tuple(draw(ITEMS)), exhibition=Exhibition(draw(DAYS), draw(DAYS))),
            named=draw(st.integers(0, 4)) == 0,
            replacing=draw(st.booleans()),
        )
        for campaign in draw(st.lists(st.sampled_from(CAMPAIGNS), unique=True, max_size=4))
    ]
    campaigns_on_disk = [
        CampaignOnDisk(
            campaign,
            draw(DAYS),
            draw(DAYS),
            draw(st.booleans()),
            tuple(draw(st.integers(0, 60)) for _ in rooms),
        )
        for campaign in draw(st.lists(st.sampled_from((*CAMPAIGNS, "old", "older")), unique=True, max_size=5))
    ]
    return World(
        tuple(wanted),
        {(one.campaign, name): tuple(draw(FOUND) for _ in rooms) for one in wanted for name in NAMES},
        tuple(rooms),
        draw(st.none() | st.builds(TransferQueue, st.just(1), st.none() | st.lists(ENTRIES, max_size=5).map(tuple))),
        tuple(campaigns_on_disk),
        tuple(draw(st.lists(st.tuples(st.sampled_from(CAMPAIGNS), st.none() | st.sampled_from(NAMES)), max_size=2))),
        PlanningContext(
            NOW, draw(st.none() | st.floats(0, 10)), draw(st.none() | st.integers(0, 20)), draw(STORE_CLOCKS)
        ),
    )


def freed(world: World, plan: Plan, device: int) -> int:
    """Return the bytes that removals of complete campaigns free on a device."""
    removed_campaigns = {removal.campaign for removal in plan.removals if removal.content is None}
    return sum(
        size
        for one in world.campaigns_on_disk
        if one.campaign in removed_campaigns
        for room, size in zip(world.rooms, one.bytes, strict=True)
        if room.device == device
    )


def taken(world: World, steps: Sequence[PlanStep], device: int) -> int:
    return sum(step.missing for step in steps if world.rooms[step.store].device == device)


@SHORT
@given(worlds())
def test_never_more_is_begun_than_fits(world: World) -> None:
    plan = world.plan()
    for device in {room.device for room in world.rooms}:
        need = taken(world, plan.steps, device)
        assert need == 0 or need <= max(0, world.free(device)) + freed(world, plan, device)


@SHORT
@given(worlds())
def test_refused_items_fitted_no_disk_at_their_turn(world: World) -> None:
    plan = world.plan()
    for place, step in enumerate(plan.steps):
        if step.action != "refuse":
            continue
        assert step.code == "NO_SPACE"
        for store, room in enumerate(world.rooms):
            need = step.item.size - world.found[step.campaign, step.item.name][store].bytes_done
            # Only what came before it took the space, not what comes after it.
            assert need > world.free(room.device) - taken(world, plan.steps[:place], room.device)


@SHORT
@given(worlds())
def test_every_item_has_at_most_one_step_and_without_a_queue_exactly_one(world: World) -> None:
    plan = world.plan()
    keys = [(step.campaign, step.item.name) for step in plan.steps]
    assert len(keys) == len(set(keys))
    if world.orders is None or world.orders.entries is None:
        assert sorted(keys) == sorted(
            (one.campaign, item.name)
            for one in world.wanted
            if one.named or not has_ended(one.manifest, min(world.moment.days))
            for item in one.manifest.content
        )


@SHORT
@given(worlds())
def test_equal_input_gives_an_equal_plan(world: World) -> None:
    assert world.plan() == world.plan()


@SHORT
@given(worlds())
def test_the_order_does_not_hang_on_the_order_in_which_campaigns_are_listed(world: World) -> None:
    turned = World(
        world.wanted[::-1],
        world.found,
        world.rooms,
        world.orders,
        world.campaigns_on_disk[::-1],
        world.first,
        world.moment,
    )
    assert turned.plan().steps == world.plan().steps
    assert sorted(map(str, turned.plan().removals)) == sorted(map(str, world.plan().removals))


@SHORT
@given(worlds())
def test_steps_stand_in_the_order_of_the_rules(world: World) -> None:
    plan = world.plan()
    wishes = list(world.first)

    def asked(step: PlanStep) -> int:
        return min(wishes.index(wish) if wish in wishes else 99 for wish in _wishes(step))

    assert [asked(step) for step in plan.steps] == sorted(asked(step) for step in plan.steps)
    for before, after in zip(plan.steps, plan.steps[1:], strict=False):
        if asked(before) == asked(after):
            assert before.priority >= after.priority
            if before.priority == after.priority and before.deadline != after.deadline and after.deadline:
                assert before.deadline
                assert before.deadline < after.deadline


def _wishes(step: PlanStep) -> list[tuple[str, str | None]]:
    return [(step.campaign, step.item.name), (step.campaign, None)]


@SHORT
@given(worlds())
def test_no_item_starts_before_it_may(world: World) -> None:
    plan = world.plan()
    # A removal waits for trusted time, which is behind the local clock where the store's clock is.
    trusted = world.moment.trusted
    assert trusted is None or all(when > min(NOW, trusted) for _, when in plan.deferred)
    assert plan.next_change == min((when for _, when in plan.deferred if when > NOW), default=None)
    entries = world.orders.entries if world.orders else None
    if entries and all(entry.not_before and entry.not_before > NOW for entry in entries):
        named = {one.campaign for one in world.wanted if one.named}
        assert {step.campaign for step in plan.steps} <= named


def days(world: World, one: CampaignOnDisk) -> tuple[date | None, date | None]:
    """Return the exhibition days of its manifest, if any."""
    wanted_exhibition = {wanted.campaign: wanted.manifest.exhibition for wanted in world.wanted}.get(one.campaign)
    return (wanted_exhibition.starts, wanted_exhibition.ends) if wanted_exhibition else (one.starts, one.ends)


def shown(world: World, one: CampaignOnDisk) -> bool:
    """Return whether today is one of its days."""
    starts, ends = days(world, one)
    return bool(starts or ends) and (starts or TODAY) <= TODAY <= (ends or TODAY)


@SHORT
@given(worlds())
def test_campaigns_shown_today_are_never_removed(world: World) -> None:
    plan = world.plan()
    removed = {removal.campaign for removal in plan.removals}
    assert not removed & {one.campaign for one in world.campaigns_on_disk if shown(world, one)}
    assert removed <= {one.campaign for one in world.campaigns_on_disk}


@SHORT
@given(worlds())
def test_without_trusted_time_only_orders_without_a_date_remove_anything(world: World) -> None:
    if world.moment.trusted is not None:
        return
    entries = (world.orders.entries if world.orders else None) or ()
    ordered = {entry.campaign for entry in entries if entry.action == "purge" and entry.not_before is None}
    assert {removal.campaign for removal in world.plan().removals} <= ordered


@SHORT
@given(worlds())
def test_wanted_campaigns_are_never_removed(world: World) -> None:
    plan = world.plan()
    steps = {(step.campaign, step.item.name) for step in plan.steps}
    for removal in plan.removals:
        if removal.content is None:
            assert removal.campaign not in {campaign for campaign, _ in steps}
        else:
            assert not steps & {(removal.campaign, content) for content in removal.content}


@SHORT
@given(worlds())
def test_for_room_only_what_has_ended_goes_and_only_where_it_lets_something_in(world: World) -> None:
    plan = world.plan()
    for removal in (removal for removal in plan.removals if "space is needed" in removal.reason):
        one = next(one for one in world.campaigns_on_disk if one.campaign == removal.campaign)
        ends = days(world, one)[1]
        assert ends is not None
        assert ends < TODAY
        devices = {room.device for room, size in zip(world.rooms, one.bytes, strict=True) if size}
        assert any(taken(world, plan.steps, device) > max(0, world.free(device)) for device in devices)


@SHORT
@given(worlds())
def test_a_plan_that_is_half_done_goes_on_with_the_rest(world: World) -> None:
    """Completing the first fetch changes nothing else: no step moves to another disk or is refused."""
    plan = world.plan()
    fetch = next((step for step in plan.steps if step.action == "fetch"), None)
    if fetch is None or plan.removals:
        return
    key, size = (fetch.campaign, fetch.item.name), fetch.missing
    there = list(world.found[key])
    there[fetch.store] = LocalItemState(staged=True) if fetch.staged else LocalItemState(FileState.COMPLETE)
    device = world.rooms[fetch.store].device
    rooms = tuple(
        DiskSpace(world.free(room.device) - size, device) if room.device == device else room for room in world.rooms
    )
    moment = PlanningContext(NOW, store=NOW)
    now = World(
        world.wanted,
        {**world.found, key: tuple(there)},
        rooms,
        world.orders,
        world.campaigns_on_disk,
        world.first,
        moment,
    )
    before = World(
        world.wanted, world.found, world.rooms, world.orders, world.campaigns_on_disk, world.first, moment
    ).plan()
    if before.removals or next((step for step in before.steps if step.action == "fetch"), None) != fetch:
        return
    rest = [step for step in now.plan().steps if (step.campaign, step.item.name) != key]
    assert rest == [step for step in before.steps if (step.campaign, step.item.name) != key]
