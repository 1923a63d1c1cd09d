"""The stored findings and causes equal those of a recount after any history of polls, writes and deletions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleet.attention.acknowledgements import acknowledge, withdraw
from fleet.attention.keeping import recount
from fleet.attention.queries import REASONS
from fleet.choices import ServiceStatus
from fleet.feed import prune_feed, publish_totals
from fleet.models import AttentionFinding, Load, Tail, Transfer
from fleet.service_status import set_service_status
from ifeportal.audit import Actor
from ifeportal.models import Airline, User
from tests.support.polling_world import MIB, PollingWorld, load
from tests.support.profiles import scaled

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

HOUR = 3_600
CODES = ("HASH_MISMATCH", "OBJECT_GONE", "NO_SPACE", "NETWORK", "WEIRD")
TAILS, ITEMS = st.sampled_from(["N1", "N2", "N3"]), st.sampled_from("ab")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("progress"), TAILS, ITEMS, st.sampled_from([0, MIB, 2 * MIB, 5 * MIB])),
        st.tuples(st.just("error"), TAILS, ITEMS, st.sampled_from(CODES)),
        st.tuples(st.just("error"), TAILS, ITEMS, st.sampled_from(CODES)),
        st.tuples(st.just("campaign error"), TAILS, st.sampled_from(CODES)),
        st.tuples(st.just("remove"), TAILS, ITEMS, st.sampled_from(["progress", "error"])),
        st.tuples(st.just("manifest"), st.sampled_from([{"a": 2 * MIB}, {"a": 2 * MIB, "b": 2 * MIB}])),
        st.tuples(st.just("withdrawn")),
        st.tuples(st.just("later"), st.sampled_from([1, HOUR, 25 * HOUR])),
        st.tuples(st.just("acknowledge"), TAILS, st.sampled_from(sorted(REASONS))),
        st.tuples(st.just("withdraw"), TAILS, st.sampled_from(sorted(REASONS))),
        st.tuples(st.just("duty"), TAILS, st.sampled_from(ServiceStatus)),
        st.tuples(st.just("delete"), TAILS),
        st.tuples(st.just("poll")),
    ),
    max_size=12,
)

START = (  # a tail that fails, one that is acknowledged, one that loads
    ("manifest", {"a": 2 * MIB, "b": 2 * MIB}),
    ("error", "N1", "a", "OBJECT_GONE"),
    ("error", "N2", "a", "NO_SPACE"),
    ("progress", "N3", "b", MIB),
    ("poll",),
    ("acknowledge", "N2", "failed"),
)


def act(world: PollingWorld, actor: Actor, step: tuple[Any, ...]) -> None:
    match step:
        case ("progress", tail, item, value):
            world.progress(f"{tail}/2026-12/{item}", value)
        case ("error", tail, item, code):
            world.error(f"{tail}/2026-12/{item}", f"{code}: text")
        case ("campaign error", tail, code):
            world.write(f"{tail}/2026-12/campaign.json.error", f"{code}: text".encode())
        case ("remove", tail, item, kind):
            world.remove(f"{tail}/2026-12/{item}.tgz.{kind}")
        case ("manifest", items):
            world.manifest(items=items)
        case ("withdrawn",):
            world.media.delete("ACME/2026-12/campaign.json")
            world.poll()
        case ("later", seconds):
            world.later(seconds)
            world.poll()
        case ("poll",):
            world.poll()
        case ("duty", tail, duty):
            for row in Tail.objects.filter(name=tail).select_related("airline"):
                set_service_status(row, duty)
        case ("delete", tail):
            Tail.objects.filter(name=tail).delete()
            prune_feed()
        case (verb, tail, reason):
            for each in Load.objects.filter(tail__name=tail).select_related("tail__airline", "campaign"):
                if verb == "acknowledge":
                    acknowledge(actor, each, reason, "seen")
                else:
                    withdraw(actor, each, reason)


@settings(max_examples=scaled(120, quick=3), suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=STEPS)
@example([("withdraw", "N2", "failed"), ("error", "N2", "a", "NETWORK"), ("poll",)])
@example([("withdrawn",), ("manifest", {"a": MIB}), ("poll",)])
@example([("duty", "N1", ServiceStatus.STORED), ("duty", "N1", ServiceStatus.ACTIVE)])
@example([("later", 25 * HOUR), ("later", 25 * HOUR), ("progress", "N3", "b", 2 * MIB), ("poll",)])
@example([("error", "N1", "a", "NO_SPACE"), ("poll",), ("delete", "N2")])
@example([("progress", "N3", "a", 2 * MIB), ("poll",)])
def test_a_recount_finds_nothing_to_correct(db: None, steps: list[tuple[Any, ...]]) -> None:
    Airline.objects.all().delete()
    world, actor = PollingWorld(), olive()
    for step in START:
        act(world, actor, step)
    for step in [*steps, ("poll",)]:
        act(world, actor, step)
        assert recount(Airline.objects.all()) == {}, step


def test_a_recount_finds_nothing_to_correct_at_the_start_of_these_histories(world: PollingWorld) -> None:
    for step in START:
        act(world, olive(), step)
        assert recount(Airline.objects.all()) == {}, step


def olive() -> Actor:
    return Actor(User.objects.get_or_create(username="olive")[0], "page")


def failed(world: PollingWorld, *tails: str, code: str = "HASH_MISMATCH") -> None:
    world.manifest(items={"a": 2 * MIB})
    for tail in tails:
        world.error(f"{tail}/2026-12/a", f"{code}: text")
    world.poll()


def kinds() -> list[tuple[str, str]]:
    return sorted(AttentionFinding.objects.values_list("tail__name", "kind"))


def test_the_cause_changes_once_the_item_is_complete_elsewhere(world: PollingWorld) -> None:
    failed(world, "N1")
    assert kinds() == [("N1", "object")]
    world.progress("N2/2026-12/a", 2 * MIB)
    world.poll()
    assert kinds() == [("N1", "tail")]


def test_the_cause_of_others_changes_with_a_further_failure_and_with_a_deletion(world: PollingWorld) -> None:
    failed(world, "N1", code="NO_SPACE")
    assert kinds() == [("N1", "tail")]
    failed(world, "N2", code="NO_SPACE")
    assert kinds() == [("N1", "code"), ("N2", "code")]
    Tail.objects.get(name="N2").delete()
    publish_totals(list(Airline.objects.values_list("pk", flat=True)))
    assert kinds() == [("N1", "tail")]


def test_a_recount_corrects_what_was_changed_by_hand_and_says_where(world: PollingWorld) -> None:
    failed(world, "N1", "N2")
    AttentionFinding.objects.filter(tail__name="N1").update(code="OTHER", cause="x")
    Transfer.objects.filter(load=load("N2")).update(status="pending")
    Load.objects.filter(pk=load("N2").pk).update(status="pending")
    assert recount(Airline.objects.all())["ACME"] > 0
    assert kinds() == [("N1", "object")]
    assert recount(Airline.objects.all()) == {}
