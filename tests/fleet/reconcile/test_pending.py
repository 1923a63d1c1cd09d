"""Changes that wait to be written: bounded in memory, and every tail gets its turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.reconcile.limits import Limits
from fleet.reconcile.objects import ChangedObject
from fleet.reconcile.pending import PendingChanges, TailChanges
from loader.contract.keys import StatusKey

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)


def add(pending: PendingChanges, tail: str, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        key = StatusKey("progress", "ACME", tail, "2026-12", f"{number}")
        pending.add(tail, ChangedObject(key, f"{tail}/{number}", 1, "x", AT))


def counts(changes: dict[str, TailChanges]) -> dict[str, int]:
    return {tail: len(each.changed) for tail, each in changes.items() if each.changed}


def test_a_tail_with_many_changes_has_one_turn_and_waits_for_every_other() -> None:
    pending = PendingChanges(Limits(tail_objects=10, pending_objects=20))
    add(pending, "A", 25)
    add(pending, "B", 10)
    assert pending.is_due
    assert counts(pending.take_turns()) == {"A": 10, "B": 10}
    add(pending, "A", 3, start=25)
    add(pending, "C", 4)
    assert counts(pending.take_turns()) == {"C": 4}
    assert [counts(each) for each in pending.rounds()] == [{"A": 10}, {"A": 8}]
    assert pending.left_out == 0


def test_no_change_is_lost_or_written_twice_in_the_rounds_of_several_tails() -> None:
    pending, sizes = PendingChanges(Limits(tail_objects=4)), {"A": 9, "B": 13, "C": 2}
    for tail, count in sizes.items():
        add(pending, tail, count)
    names = [each.name for changes in pending.take_turns().values() for each in changes.changed]
    rounds = list(pending.rounds())
    names += [each.name for found in rounds for changes in found.values() for each in changes.changed]
    assert [counts(each) for each in rounds] == [{"A": 4, "B": 4}, {"A": 1, "B": 4}, {"B": 1}]
    assert sorted(names) == sorted(f"{tail}/{number}" for tail, count in sizes.items() for number in range(count))


def test_pending_changes_are_bounded_and_the_rest_is_counted() -> None:
    pending = PendingChanges(Limits(tail_objects=10, waiting_objects=30))
    add(pending, "A", 100)
    add(pending, "B", 10)
    assert counts(pending.take_turns()) == {"A": 10, "B": 10}
    assert sum(sum(counts(each).values()) for each in pending.rounds()) == 30
    assert pending.left_out == 60


@pytest.mark.parametrize("order", ["ABCD", "DCBA", "CADB"])
def test_while_catching_up_the_tails_that_were_served_last_give_way(order: str) -> None:
    served = {"A": AT, "B": AT - timedelta(hours=2), "C": AT - timedelta(hours=1)}
    pending = PendingChanges(Limits(tail_objects=10, pending_objects=1, waiting_objects=20), served)
    for tail in order:
        add(pending, tail, 10)
    assert not pending.is_due, "nothing is written before the listing is read"
    assert counts(pending.take_turns()) == {"B": 10, "D": 10}, "D was never served, B longest ago"
    assert (list(pending.rounds()), pending.left_out) == ([], 20)
