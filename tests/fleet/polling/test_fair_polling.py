"""One tail holds up no other of its airline: not by its size, nor by errors, nor by its place in the order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError

from fleet import jobs
from fleet.ingest.apply import ApplyResult, apply_tails
from fleet.models import Tail, Transfer
from fleet.polling.poller import PollOptions, poll_airline
from fleet.polling.result import PollResult
from fleet.reconcile.limits import Limits
from ifeportal.models import Airline, Job
from tests.support.polling_world import PollingWorld, transfer
from tests.support.proxied_buckets import open_problems

pytestmark = pytest.mark.django_db

TAILS = [f"N{number:02}" for number in range(12)]


def acme() -> Airline:
    return Airline.objects.get(name="ACME")


def poll(world: PollingWorld, limits: Limits, **options: Any) -> PollResult:
    return poll_airline(acme(), world.media, world.status, world.clock, PollOptions(limits, **options))


def written(world: PollingWorld) -> set[str]:
    """Return the tails that the last poll wrote."""
    return set(Tail.objects.filter(seen_at=world.clock).values_list("name", flat=True))


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the tails of each transaction."""
    batches: list[list[str]] = []

    def recorded(airline: Airline, batch: Any, *args: Any, **more: Any) -> ApplyResult:
        names = dict(Tail.objects.filter(pk__in=batch).values_list("pk", "name"))
        batches.append(sorted(names[pk] for pk in batch))
        return apply_tails(airline, batch, *args, **more)

    monkeypatch.setattr("fleet.polling.writer.apply_tails", recorded)
    return batches


def test_a_tail_that_is_read_for_the_first_time_holds_up_no_other(
    world: PollingWorld, order: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.polling.batches.OBJECTS_A_BATCH", 10)
    for number in range(95):
        world.progress(f"A-HUGE/2026-12/item-{number}", 7)
    for tail in TAILS:
        world.progress(f"{tail}/2026-12/item-0", 7)
    world.limits = Limits(tail_objects=10, pending_objects=15)
    assert world.poll().unfinished == 0
    last_other = max(number for number, batch in enumerate(order) if set(batch) & set(TAILS))
    before = sum("A-HUGE" in batch for batch in order[:last_other])
    assert before <= 1, "one turn of ten objects"
    assert Transfer.objects.filter(load__tail__name="A-HUGE").count() == 95
    assert Transfer.objects.exclude(load__tail__name="A-HUGE").count() == 12


def test_a_poll_spends_little_time_on_a_tail_with_a_backlog_so_that_the_next_one_comes_soon(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.polling.writer.BACKLOG_TIME_LIMIT", 0.0)
    limits = Limits(tail_objects=10)
    world.progress("N1/2026-12/a", 1)
    world.poll()
    for number in range(95):
        world.progress(f"A-HUGE/2026-12/item-{number}", 7)
    unfinished_counts = []
    for cycle in range(10):
        world.later()
        world.progress("N1/2026-12/a", 20 + cycle)
        unfinished_counts.append(poll(world, limits, seconds=10**6, catching_up=bool(cycle)).unfinished)
        assert transfer("a").bytes_reported == 20 + cycle
    assert unfinished_counts == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0], "a turn and a round of ten each"
    assert Transfer.objects.filter(load__tail__name="A-HUGE").count() == 95


def test_late_tails_catch_up_under_lasting_overload(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each poll there is time for one batch of three tails, and every tail has changes again."""
    monkeypatch.setattr("fleet.polling.batches.OBJECTS_A_BATCH", 6)
    limits = Limits(tail_objects=2, waiting_objects=10)
    for tail in TAILS:
        world.progress(f"{tail}/2026-12/a", 1)
    world.poll()
    waited = dict.fromkeys(TAILS, 0)
    for cycle in range(2, 26):
        world.later()
        for tail in TAILS:
            for item in "abc":
                world.progress(f"{tail}/2026-12/{item}", cycle)
        result = poll(world, limits, seconds=0, catching_up=True)
        assert result.unfinished == 1
        served = written(world)
        assert len(served) == 3
        waited = {tail: 0 if tail in served else count + 1 for tail, count in waited.items()}
        assert max(waited.values()) <= len(TAILS) // 3, waited
    world.later()
    assert poll(world, limits, catching_up=True).unfinished == 1, "there was no room for all"
    world.later()
    while poll(world, limits, catching_up=True).unfinished:
        world.later()
    assert set(Transfer.objects.values_list("bytes_reported", flat=True)) == {25}


def test_a_poll_after_an_unfinished_one_catches_up(
    cast: object, world: PollingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[bool] = []

    def poll_root(*args: Any, **more: Any) -> tuple[PollResult, tuple[str, ...]]:
        flags.append(args[4].catching_up)
        return PollResult(unfinished=int(len(flags) == 2)), ("",)

    monkeypatch.setattr("fleet.jobs.poll_root", poll_root)
    for _ in range(4):
        Job.objects.update(due_at="2020-01-01T00:00Z")
        jobs.poll("ACME")
    assert flags[2:] == [True, False]


Refusal = Callable[[], Exception]
REFUSALS: dict[str, Refusal] = {
    "bad data": lambda: DataError("value too long"),
    "a constraint": lambda: IntegrityError("violates check constraint"),
    "an error of the statement": lambda: OperationalError("canceling statement due to statement timeout"),
    "a fault of ours": lambda: KeyError("x"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_tail_that_cannot_be_written_backs_off_alone(
    world: PollingWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tails = TAILS[4:8]
    for tail in tails:
        world.progress(f"{tail}/2026-12/a", 7)
    world.poll()
    bad = Tail.objects.get(name="N05").pk
    attempts: list[object] = []

    def refusing(airline: Airline, batch: Any, *args: Any, **more: Any) -> ApplyResult:
        if bad in batch:
            if len(batch) == 1:
                attempts.append(world.clock)
            raise REFUSALS[kind]()
        return apply_tails(airline, batch, *args, **more)

    monkeypatch.setattr("fleet.polling.writer.apply_tails", refusing)
    world.later()
    for value in range(20, 54 if kind == "bad data" else 24):
        for tail in tails:
            world.progress(f"{tail}/2026-12/a", value)
        result = world.poll()
        assert result.failures == (), "the airline is not backed off"
        assert transfer("a", "N07").bytes_reported == value
        assert open_problems() == {"ACME/N05/": "INTERNAL"}
        world.later()
    assert len(attempts) == (7 if kind == "bad data" else 3), "ever less often"
    monkeypatch.setattr("fleet.polling.writer.apply_tails", apply_tails)
    world.later(60)
    world.poll()
    assert (transfer("a", "N05").bytes_reported, open_problems()) == (value, {})


def test_if_no_tail_can_be_written_the_poll_fails(world: PollingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for tail in TAILS:
        world.progress(f"{tail}/2026-12/a", 7)

    def refusing(*args: Any, **more: Any) -> ApplyResult:
        raise DataError("value too long")

    monkeypatch.setattr("fleet.polling.writer.apply_tails", refusing)
    assert world.poll().failures == ("12 tails could not be written, and no other was",)
