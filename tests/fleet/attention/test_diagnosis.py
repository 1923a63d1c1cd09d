"""Failures are grouped by the likeliest cause: an object, a tail, or an error code; each failure has one group."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.attention.diagnosis import (
    OF_THE_OBJECT,
    OF_THE_TAIL,
    STEPS,
    CauseKey,
    CauseKind,
    Finding,
    LikelyCause,
    causes_of,
    decided_elsewhere,
)
from loader.errors import ERRORS, Cause, Code

WORDS = ("failed", "stalled", "silent", "at risk", "contradiction")


def fault(tail: str, content: str = "", code: str = "", word: str = "failed", **rest: object) -> Finding:
    load = sum(map(ord, tail))
    return Finding(load, "ACME", tail, "2026-12", word, content, code, **rest)  # type: ignore[arg-type]


def group_by_cause(findings: list[Finding]) -> list[LikelyCause]:
    """Group the findings by cause as the pages do."""
    grouped: dict[CauseKey, list[Finding]] = {}
    for finding, key in zip(findings, causes_of(findings), strict=True):
        grouped.setdefault(key, []).append(finding)
    causes = [
        LikelyCause(
            key,
            tails=len({each.tail for each in members}),
            loads=len({each.load for each in members}),
            contents=len({each.content for each in members if each.content}),
        )
        for key, members in grouped.items()
    ]
    return sorted(causes, key=lambda cause: cause.rank)


def brief(causes: list[LikelyCause]) -> list[tuple[str, str, int]]:
    return [(cause.kind.value, cause.subject, cause.tails) for cause in causes]


def test_an_item_that_fails_on_several_tails_is_one_object_at_fault() -> None:
    faults = [fault(tail, "movie-3") for tail in ("N1", "N2", "N3")]
    assert brief(group_by_cause(faults)) == [("object", "movie-3", 3)]


def test_a_tail_on_which_several_items_fail_is_at_fault_itself() -> None:
    faults = [fault("N1", content, "NETWORK") for content in ("a", "b", "c")]
    assert brief(group_by_cause(faults)) == [("tail", "N1", 1)]


@pytest.mark.parametrize(
    ("findings", "heading"),
    [
        (
            [fault("N1", "movie-3", "OBJECT_GONE"), fault("N2", "movie-3", "OBJECT_GONE")],
            "movie-3 of 2026-12 fails on 2 tails",
        ),
        ([fault("N1", "a", "NETWORK"), fault("N1", "b", "NETWORK")], "N1: 2 failed items"),
        ([fault("N1", "", "NO_SPACE")], "N1: campaign failed"),
        ([fault("N1", "a", "NETWORK"), fault("N2", "b", "NETWORK")], "NETWORK on 2 tails"),
        ([fault("N1", word="stalled")], "1 stalled load of 2026-12"),
        ([fault("N1", word="silent"), fault("N2", word="silent")], "2 silent tails"),
        ([fault("N1", word="at risk")], "1 load of 2026-12 may miss the start of the exhibition"),
        ([fault("N1", word="contradiction", text="reports too much")], "1 load of 2026-12: reports too much"),
    ],
)
def test_the_heading_of_a_cause_names_the_fault(findings: list[Finding], heading: str) -> None:
    assert [cause.heading for cause in group_by_cause(findings)] == [heading]


def test_one_code_on_several_tails_is_one_fault() -> None:
    faults = [fault("N1", "a", "NETWORK"), fault("N2", "b", "NETWORK"), fault("N3", "c", "NETWORK")]
    assert brief(group_by_cause(faults)) == [("code", "NETWORK", 3)]


def test_a_full_disk_is_never_the_fault_of_the_object() -> None:
    faults = [fault(tail, "movie-3", "NO_SPACE") for tail in ("N1", "N2")]
    assert brief(group_by_cause(faults)) == [("code", "NO_SPACE", 2)]
    assert brief(group_by_cause(faults[:1])) == [("tail", "N1", 1)]


def test_wrong_bytes_are_the_fault_of_the_object_unless_others_hold_it_whole() -> None:
    assert brief(group_by_cause([fault("N1", "movie-3", "HASH_MISMATCH")])) == [("object", "movie-3", 1)]
    assert brief(group_by_cause([fault("N1", "movie-3", "HASH_MISMATCH", complete_elsewhere=True)])) == [
        ("tail", "N1", 1)
    ]
    twice = [fault(tail, "movie-3", "HASH_MISMATCH", complete_elsewhere=True) for tail in ("N1", "N2")]
    assert brief(group_by_cause(twice)) == [("object", "movie-3", 2)]


def test_a_manifest_that_all_refuse_is_one_object() -> None:
    faults = [fault(tail, "", "BAD_MANIFEST") for tail in ("N1", "N2")]
    assert brief(group_by_cause(faults)) == [("object", "campaign.json", 2)]


def test_stalled_loads_are_grouped_by_campaign_and_silent_tails_together() -> None:
    faults = [fault("N1", word="stalled"), fault("N2", word="stalled"), fault("N3", word="silent")]
    assert brief(group_by_cause(faults)) == [("stalled", "", 2), ("silent", "", 1)]


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_the_advice_begins_with_the_action_of_the_error_table(code: Code) -> None:
    [cause] = group_by_cause([fault("N1", "movie-3", code)])
    assert cause.next_step.startswith(ERRORS[code].advice)


def test_every_code_named_here_is_in_the_error_table_and_every_kind_has_a_next_step() -> None:
    assert {kind.cause for kind in ERRORS.values()} == set(Cause)
    assert not OF_THE_OBJECT & OF_THE_TAIL
    assert set(STEPS) == set(CauseKind)


@given(
    st.lists(
        st.builds(
            Finding,
            load=st.integers(1, 6),
            airline=st.sampled_from(["ACME", "BETA"]),
            tail=st.sampled_from(["N1", "N2", "N3"]),
            campaign=st.sampled_from(["a", "b"]),
            reason=st.sampled_from(WORDS),
            content=st.sampled_from(["", "x", "y"]),
            code=st.sampled_from(["", "NO_SPACE", "NETWORK", "HASH_MISMATCH", "WEIRD"]),
            complete_elsewhere=st.booleans(),
        ),
        max_size=30,
    )
)
def test_each_fault_belongs_to_exactly_one_cause_of_its_airline(faults: list[Finding]) -> None:
    for fault, key in zip(faults, causes_of(faults), strict=True):
        assert key.airline == fault.airline
        assert LikelyCause(key, 1, 1, 1).reason == fault.reason


@given(st.permutations([*"abcd"]), st.lists(st.booleans(), min_size=4, max_size=4))
def test_only_findings_that_are_decided_elsewhere_depend_on_it(order: list[str], elsewhere: list[bool]) -> None:
    known = [fault(f"N{order[0]}", "x", "HASH_MISMATCH"), fault("N1", "x", "OBJECT_GONE"), fault("N1", "y", "NETWORK")]
    faults = [*known, *(fault(f"N{name}", "x", "OBJECT_GONE") for name in order[:2])]
    asked = decided_elsewhere(faults)
    others = [
        replace(each, complete_elsewhere=index not in asked and elsewhere[index % 4])
        for index, each in enumerate(faults)
    ]
    assert causes_of(others) == causes_of(faults)


def test_causes_have_distinct_digests_without_separators_in_names() -> None:
    keys = [CauseKey(CauseKind.CODE, "A", "", "B", "C"), CauseKey(CauseKind.CODE, "A", "B", "", "C")]
    assert len({key.digest for key in keys}) == 2
