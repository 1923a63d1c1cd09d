"""The pure state machine: from the totals of its transfers to the next state of a load."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.state.forecast import ExhibitionDates
from fleet.state.load import (
    LISTING_DELAY,
    ItemError,
    LoadContext,
    LoadState,
    TransferTotals,
    next_load_state,
    with_campaign_error,
)
from fleet.state.observations import ErrorObserved, ObjectDeleted
from loader.contract.item_reports import COUNT_LIMIT

START = datetime(2026, 12, 1, 12, tzinfo=UTC)
LATER = START + timedelta(seconds=10)


def judged(
    sums: TransferTotals, state: LoadState | None = None, failure: ItemError | None = None, rate: int | None = None
) -> LoadState:
    state = state or LoadState()
    return next_load_state(state, state, sums, failure, LATER, rate)


@pytest.mark.parametrize(
    ("sums", "status"),
    [
        (TransferTotals(items=2, bytes_total=20), "pending"),
        (TransferTotals(items=2, bytes_total=20, reported=2), "pending"),
        (TransferTotals(items=2, bytes_total=20, reported=2, loading=1, bytes_done=5), "loading"),
        (TransferTotals(items=2, bytes_total=20, reported=2, done=1, bytes_done=10), "loading"),
        (TransferTotals(items=2, bytes_total=20, reported=2, done=2, bytes_done=20), "complete"),
        (TransferTotals(items=2, bytes_total=20, reported=2, done=1, failed=1, bytes_done=10), "failed"),
        (TransferTotals(items=2, bytes_total=20, reported=2, loading=1, failed=1, bytes_done=10), "failed"),
        (TransferTotals(items=2, bytes_total=20, deleted=2), "deleted"),
        (TransferTotals(items=2, bytes_total=20, deleted=1), "deleted"),
        (TransferTotals(items=2, bytes_total=20, deleted=1, reported=1, loading=1, bytes_done=5), "loading"),
        (TransferTotals(items=2, reported=2, loading=1, bytes_done=5), "loading"),
        (TransferTotals(items=2, reported=2), "pending"),
        (TransferTotals(bytes_total=0), "complete"),
        (TransferTotals(), "pending"),
    ],
)
def test_the_sums_decide_the_status(sums: TransferTotals, status: str) -> None:
    assert judged(sums).status == status


def test_totals_are_unknown_while_the_manifest_is() -> None:
    state = judged(TransferTotals(items=3, reported=3, loading=1, bytes_done=7))
    assert (state.items_total, state.bytes_total, state.bytes_done) == (None, None, 7)


def test_foreign_reports_never_exceed_the_column_limits() -> None:
    assert judged(TransferTotals(items=2, reported=2, loading=2, bytes_done=2 * COUNT_LIMIT)).bytes_done == COUNT_LIMIT


def test_the_error_of_a_failed_item_is_shown_with_its_name() -> None:
    state = judged(TransferTotals(items=1, bytes_total=9, failed=1), failure=ItemError("movie", "IO_ERROR", "disk"))
    assert (state.error, state.error_code, state.error_content) == ("disk", "IO_ERROR", "movie")


def test_the_campaigns_own_error_comes_first_and_fails_the_load() -> None:
    state = with_campaign_error(LoadState(), ErrorObserved("e", START, "BAD_MANIFEST", "refused"))
    state = judged(TransferTotals(items=1, bytes_total=9, failed=1), state, ItemError("movie", "", "x"))
    assert (state.status, state.error, state.error_code, state.error_content) == (
        "failed",
        "refused",
        "BAD_MANIFEST",
        "",
    )
    after_deletion = with_campaign_error(state, ObjectDeleted("e"))
    assert judged(TransferTotals(items=1, bytes_total=9), after_deletion).status == "pending"
    assert with_campaign_error(state, ObjectDeleted("other")) == state
    assert with_campaign_error(state, ErrorObserved("old", START - timedelta(1), "", "old")) == state


def test_a_load_that_became_whole_after_the_campaigns_error_is_complete() -> None:
    state = with_campaign_error(LoadState(), ErrorObserved("e", START, "", "x"))
    whole = TransferTotals(items=1, bytes_total=9, done=1, reported=1, bytes_done=9, as_of=LATER)
    assert judged(whole, state).status == "complete"
    assert judged(replace(whole, as_of=START), state).status == "failed"


def test_rate_and_moment_change_only_when_bytes_moved() -> None:
    sums = TransferTotals(items=1, bytes_total=9, loading=1, reported=1, bytes_done=5)
    moved = judged(sums, rate=7)
    assert (moved.rate_bps, moved.moved_at) == (7, LATER)
    still = next_load_state(moved, moved, sums, None, LATER + timedelta(1), None)
    assert still == moved
    stalled = moved._replace(stalled=True)
    assert next_load_state(stalled, stalled, sums, None, LATER, None).stalled
    assert not next_load_state(stalled, stalled, replace(sums, bytes_done=6), None, LATER, 1).stalled
    done = next_load_state(
        moved, moved, replace(sums, done=1, loading=0, bytes_done=9, finished_at=LATER), None, LATER, 7
    )
    assert (done.rate_bps, done.finished_at) == (None, LATER)


MANIFEST_MISSING = LoadState(
    error_etag="e", error_at=START, campaign_error_code="OBJECT_GONE", campaign_error="no campaign.json"
)


@pytest.mark.parametrize(
    ("manifest_as_of", "code", "status"),
    [
        (None, "OBJECT_GONE", "pending"),
        (START, "OBJECT_GONE", "pending"),
        (LATER, "OBJECT_GONE", "pending"),
        (START - LISTING_DELAY, "OBJECT_GONE", "pending"),
        (START - LISTING_DELAY - timedelta(seconds=1), "OBJECT_GONE", "failed"),
        (None, "BAD_MANIFEST", "failed"),
        (LATER, "FORBIDDEN", "failed"),
    ],
)
def test_a_campaign_uploaded_before_its_manifest_has_not_failed(
    manifest_as_of: datetime | None, code: str, status: str
) -> None:
    state = MANIFEST_MISSING._replace(campaign_error_code=code)
    context = LoadContext(ExhibitionDates(None, None), timedelta(days=2), manifest_as_of)
    after = next_load_state(state, state, TransferTotals(items=1), None, LATER, None, None, context)
    assert (after.status, after.error_code) == (status, code if status == "failed" else "")


def test_a_load_at_risk_is_so_no_longer_with_the_bytes_that_bring_it_in_time() -> None:
    context = LoadContext(ExhibitionDates(START.date() + timedelta(days=1), None), timedelta(days=2), START)
    before = LoadState(status="loading", bytes_total=10**9, bytes_done=0, at_risk=True, moved_at=START)
    sums = TransferTotals(items=1, reported=1, loading=1, bytes_done=10**6, bytes_total=10**9)
    for rate, at_risk in ((10**6, False), (10, True), (None, True)):
        after = next_load_state(before, before, sums, None, LATER, rate, None, context)
        assert after.at_risk is at_risk, rate
