"""Admission: order, caps, space, and no starvation. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ifeportal.operations.admission.rules import (
    PATIENCE,
    Candidate,
    KindLimits,
    Running,
    Situation,
    SpaceLeft,
    decide,
    queue_order,
)

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
GB = 10**9
KINDS = {
    "upload": KindLimits(),
    "download": KindLimits(total=3, per_airline=2, per_user=1, space="tickets"),
    "deletion": KindLimits(space="tickets", frees_space=True),
}


def waiting(pk: int, kind: str = "upload", *, minutes: float = 1, lane: int = 10, **fields: object) -> Candidate:
    made = Candidate(pk, kind, airline=1, user=pk, lane=lane, priority=0, queued_at=NOW - timedelta(minutes=minutes))
    return replace(made, **fields)  # type: ignore[arg-type]


def situation(
    *running: Running,
    total: int = 100,
    free: int = 10 * GB,
    limit: int = 100 * GB,
    kinds: dict[str, KindLimits] = KINDS,
) -> Situation:
    return Situation(total, kinds, running, {"tickets": SpaceLeft(limit, free)}, NOW)


def test_the_order_is_lane_then_priority_then_age() -> None:
    candidates = [
        waiting(1, minutes=5),
        waiting(2, minutes=9, lane=20),
        waiting(3, minutes=1, priority=1),
        waiting(4, minutes=2, lane=0),
        waiting(5, minutes=6),
    ]
    assert decide(candidates, situation()).admitted == (4, 3, 5, 1, 2)
    assert decide(candidates, situation(total=3)).admitted == (4, 3, 5)


def test_caps_count_what_runs_and_what_starts() -> None:
    candidates = [
        waiting(1, "download", minutes=9, user=7),
        waiting(2, "download", minutes=8, user=7),
        waiting(3, "download", minutes=7, user=8),
        waiting(4, "download", minutes=6, user=None),
        waiting(5, "download", minutes=5, user=None, airline=2),
        waiting(6, "download", minutes=4, user=9, airline=2),
    ]
    decision = decide(candidates, situation())
    assert decision.admitted == (1, 3, 5)
    assert decision.reasons == {
        2: "Waits until one of 1 running operation of this kind for the user ends.",
        4: "Waits until one of 2 running operations of this kind for the airline ends.",
        6: "Waits until one of 3 running operations of this kind ends.",
    }
    assert decide(candidates, situation(Running("download", 2, 1, 2), Running("download", 3, 1, 1))).admitted == ()
    full = decide(candidates, situation(Running("upload", 1, 1, 4), total=4))
    assert full.admitted == ()
    assert set(full.reasons.values()) == {"Waits until one of 4 running operations ends."}


def test_what_lacks_space_waits_with_the_missing_amount_and_smaller_ones_start() -> None:
    candidates = [
        waiting(1, "download", needs=12 * GB),
        waiting(2, "download", needs=8 * GB),
        waiting(3, "download", needs=101 * GB, airline=2),
        waiting(4, "upload", needs=900 * GB),
    ]
    decision = decide(candidates, situation())
    assert decision.admitted == (2, 4)
    assert decision.reasons == {
        1: "Waits for 2.00 GB of space: needs 12.0 GB, 10.0 GB are free.",
        3: "Needs 101 GB of space, more than the limit of 100 GB.",
    }


def test_one_that_has_waited_long_reserves_what_is_free() -> None:
    candidates = [
        waiting(1, "download", minutes=31, needs=12 * GB),
        waiting(2, "download", needs=8 * GB),
        waiting(3, "download", needs=0, airline=2),
    ]
    decision = decide(candidates, situation())
    assert decision.admitted == (3,)
    assert decision.reasons[2] == "Waits for 8.00 GB of space: needs 8.00 GB, 0 B are free."
    assert decide(candidates, situation(free=12 * GB)).admitted == (1, 3)


def test_one_that_never_fits_reserves_nothing() -> None:
    candidates = [waiting(1, "download", minutes=31, needs=101 * GB), waiting(2, "download", needs=8 * GB)]
    assert decide(candidates, situation()).admitted == (2,)


def test_deletions_come_first_only_while_space_is_lacking() -> None:
    candidates = [
        waiting(1, lane=0),
        waiting(2, "download", needs=1 * GB),
        waiting(3, "deletion", lane=30),
    ]
    assert decide(candidates, situation(total=2)).admitted == (1, 2)
    assert decide(candidates, situation(total=2, free=0)).admitted == (3, 1)


def test_one_of_each_kind_that_has_waited_long_goes_before_all_others() -> None:
    candidates = [waiting(1, lane=0), waiting(2, minutes=40, lane=20), waiting(3, minutes=50, lane=20)]
    assert decide(candidates, situation(total=2)).admitted == (3, 1)
    # While one that was favoured runs, the others wait for their turn.
    assert decide(candidates, situation(Running("upload", 1, 1, 1, patient=1), total=2)).admitted == (1,)


candidate = st.builds(
    waiting,
    pk=st.integers(1, 30),
    kind=st.sampled_from(sorted(KINDS)),
    minutes=st.sampled_from([0, 1, 29, 31, 90]),
    lane=st.sampled_from([0, 10, 20, 30]),
    priority=st.integers(-1, 1),
    airline=st.integers(1, 2),
    user=st.sampled_from([None, 1, 2]),
    needs=st.integers(0, 12).map(lambda number: number * GB),
)
candidates = st.lists(candidate, unique_by=lambda each: each.pk, max_size=25)
running = st.lists(
    st.builds(
        Running,
        kind=st.sampled_from(sorted(KINDS)),
        airline=st.integers(1, 2),
        user=st.sampled_from([None, 1, 2]),
        number=st.integers(1, 2),
        patient=st.integers(0, 1),
    ),
    max_size=3,
)


@given(candidates, running, st.integers(1, 8), st.integers(-1, 20))
def test_caps_and_space_are_never_exceeded_and_what_fits_starts(
    given_candidates: list[Candidate], given_running: list[Running], total: int, free: int
) -> None:
    here = situation(*given_running, total=total, free=free * GB)
    decision = decide(given_candidates, here)
    by_pk = {each.pk: each for each in given_candidates}
    started = [by_pk[pk] for pk in decision.admitted]
    assert set(decision.admitted) | set(decision.reasons) == set(by_pk)
    assert len(decision.admitted) + len(decision.reasons) == len(by_pk)
    after = [*given_running, *(Running(each.kind, each.airline, each.user, 1) for each in started)]
    assert _exceeded(given_running, total) or not _exceeded(after, total)
    taken = sum(each.needs for each in started if KINDS[each.kind].space)
    assert taken <= max(free * GB, 0)
    # Nothing more would have fitted, unless its space is reserved.
    left = [by_pk[pk] for pk in decision.reasons]
    reserves = any(each.needs and KINDS[each.kind].space and here.is_patient(each) for each in left)
    for each in left:
        one_more = [*after, Running(each.kind, each.airline, each.user, 1)]
        fits = not _would_exceed(each, one_more, total) and (
            not KINDS[each.kind].space or taken + each.needs <= free * GB or not each.needs
        )
        assert not fits or reserves


def _counts(rows: Sequence[Running]) -> tuple[Counter[str], Counter[object], Counter[object]]:
    kinds: Counter[str] = Counter()
    airlines: Counter[object] = Counter()
    users: Counter[object] = Counter()
    for row in rows:
        kinds[row.kind] += row.number
        airlines[row.kind, row.airline] += row.number
        users[row.kind, row.user] += row.number
    return kinds, airlines, users


def _would_exceed(each: Candidate, rows: Sequence[Running], total: int) -> bool:
    kinds, airlines, users = _counts(rows)
    limits = KINDS[each.kind]
    return (
        sum(kinds.values()) > total
        or _over(kinds[each.kind], limits.total)
        or _over(airlines[each.kind, each.airline], limits.per_airline)
        or _over(users[each.kind, each.user], limits.per_user)
    )


def _over(number: int, cap: int | None) -> bool:
    return cap is not None and number > cap


def _exceeded(rows: Sequence[Running], total: int) -> bool:
    kinds, airlines, users = _counts(rows)
    return (
        sum(kinds.values()) > total
        or any(_over(number, KINDS[kind].total) for kind, number in kinds.items())
        or any(_over(number, KINDS[key[0]].per_airline) for key, number in airlines.items())  # type: ignore[index]
        or any(_over(number, KINDS[key[0]].per_user) for key, number in users.items())  # type: ignore[index]
    )


@given(candidates, st.integers(1, 4), st.data())
def test_nothing_starves_whatever_is_requested_meanwhile(
    patient: list[Candidate], total: int, data: st.DataObject
) -> None:
    """Each round one running operation ends, and newer, smaller and more urgent ones are requested."""
    kinds = {name: replace(limits, per_user=None) for name, limits in KINDS.items()}
    limit = 12 * GB
    queue = {each.pk: replace(each, queued_at=each.queued_at - PATIENCE) for each in patient}
    here: dict[int, Candidate] = {}
    for number in range(1_000, 1_000 + 8 * len(patient) + 8):
        urgent = waiting(number, data.draw(st.sampled_from(sorted(kinds))), minutes=0, lane=0, priority=9, needs=GB)
        queue[number] = urgent
        taken = sum(each.needs for each in here.values() if kinds[each.kind].space)
        rows = [Running(each.kind, each.airline, each.user, 1, patient=int(each.pk < 1_000)) for each in here.values()]
        now = situation(*rows, total=total, limit=limit, free=limit - taken, kinds=kinds)
        for pk in decide(list(queue.values()), now).admitted:
            here[pk] = queue.pop(pk)
        assert len(here) <= total
        if here:
            here.pop(data.draw(st.sampled_from(sorted(here))))
    assert not [pk for pk in queue if pk < 1_000]


@given(candidates)
def test_without_limits_the_whole_queue_starts_in_order_but_for_those_that_waited_long(
    given_candidates: list[Candidate],
) -> None:
    fresh = [replace(each, queued_at=NOW) for each in given_candidates]
    free = replace(situation(), spaces={}, kinds={name: KindLimits() for name in KINDS})
    assert decide(fresh, free).admitted == tuple(each.pk for each in sorted(fresh, key=queue_order))
