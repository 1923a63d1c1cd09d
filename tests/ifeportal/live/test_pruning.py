"""Pruning publishes deletions of vanished objects, and removes them only after browsers could receive them."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from fleet.feed import prune_feed
from fleet.models import Load, Tail
from ifeportal.live import pruning
from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.live.feed_query import changes_after, missed_since
from ifeportal.live.models import Change
from ifeportal.live.registry import topic_names
from ifeportal.live.scope import Scope
from ifeportal.models import User
from tests.conftest import Cast
from tests.support.poll_fleet import poll_fleet
from tests.support.polling_world import PollingWorld
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.both_databases

EVERYTHING = Scope(airlines=None, tail="", campaign="", topics=topic_names(), user=0, roles=None)


@pytest.fixture
def world(cast: Cast) -> PollingWorld:
    world = PollingWorld()
    world.manifest(items={"a": 10})
    for tail in ("N1", "N2"):
        world.progress(f"{tail}/2026-12/a", 5)
    poll_fleet(world.media, world.status, world.clock)
    return world


def ops(rev: int = 0) -> dict[tuple[str, int], str]:
    return {(row.topic, row.object): row.op for row in Change.objects.filter(rev__gt=rev)}


def missed(rev: int, user: User) -> list[tuple[str, str]] | None:
    news = missed_since(rev, user, EVERYTHING)
    return None if news is None else [(each.change.topic, each.change.op) for each in news]


def test_no_deletion_is_published_while_all_rows_exist(world: PollingWorld) -> None:
    rev, before = current_rev(), ops()
    done = prune_feed()
    assert (done.deletions_published, done.rows_deleted) == (0, 0)
    assert (current_rev(), ops()) == (rev, before)


def test_manual_deletions_are_published_with_dependent_rows(world: PollingWorld, cast: Cast) -> None:
    tail = Tail.objects.get(name="N1")
    load = Load.objects.get(tail=tail)
    deleted = {("tail", tail.pk), ("load", load.pk), ("transfer", load.transfers.get().pk)}
    rev = current_rev()
    tail.delete()
    with patch.object(pruning, "SLICE_SIZE", 2):
        assert prune_feed().deletions_published == 3
    assert {key for key, op in ops(rev).items() if op == "delete"} == deleted
    row = Change.objects.get(topic="load", op="delete")
    assert (row.airline, row.tail, row.campaign, row.state) == (cast.acme, "N1", "2026-12", {})
    assert Change.objects.get(topic="airline", object=cast.acme.pk).state["tails"] == 1
    assert prune_feed().deletions_published == 0


def test_a_reader_that_follows_hears_of_it(world: PollingWorld) -> None:
    rev = current_rev()
    Tail.objects.filter(name="N1").delete()
    prune_feed()
    assert {each.change.topic for each in changes_after(rev) if each.change.op == "delete"} == {
        "tail",
        "load",
        "transfer",
    }


def test_a_deletion_is_forgotten_one_round_after_the_next(world: PollingWorld, cast: Cast) -> None:
    away = current_rev()
    Tail.objects.filter(name="N1").delete()
    prune_feed()
    here = current_rev()
    assert missed(away, cast.olga) is not None
    with patch.object(pruning, "SLICE_SIZE", 1):
        assert prune_feed().rows_deleted == 3
    assert not Change.objects.filter(op="delete").exists()
    assert missed(away, cast.olga) is None, "only a new page can help"
    assert missed(here, cast.olga) == []
    assert prune_feed().rows_deleted == 0


def test_a_deletion_after_the_last_round_is_not_forgotten_yet(world: PollingWorld, cast: Cast) -> None:
    prune_feed()
    publish([FeedChange("load", 999, cast.acme.pk, op="delete")])
    rev = current_rev() - 1
    assert prune_feed().rows_deleted == 0
    assert missed(rev, cast.olga) == [("load", "delete")]


def test_topics_of_others_are_left_alone(cast: Cast) -> None:
    Change.objects.create(topic="weather", object=1, rev=1, op="put", airline=cast.acme)
    assert prune_feed().deletions_published == 0


def test_a_lost_lease_publishes_nothing(world: PollingWorld) -> None:
    class Lost(Exception):
        pass

    def lose() -> None:
        raise Lost

    Tail.objects.filter(name="N1").delete()
    rev = current_rev()
    with pytest.raises(Lost):
        prune_feed(lease=ScriptedLease(on_check_fence=lose))
    assert current_rev() == rev
    assert not Change.objects.filter(op="delete").exists()
