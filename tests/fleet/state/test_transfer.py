"""The pure state machine: from the observed objects of an item to its next state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.choices import Status
from fleet.state.observations import ErrorObserved, ObjectDeleted, ObjectRewritten, ProgressObserved
from fleet.state.transfer import TransferState, next_transfer_state
from loader.contract.item_reports import COUNT_LIMIT
from loader.errors import Code

START = datetime(2026, 12, 1, 12, tzinfo=UTC)
SIZE = 1000


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def progress(value: int | None, seconds: float = 0, etag: str = "") -> ProgressObserved:
    return ProgressObserved(etag or f"p{value}", at(seconds), value)


def error(text: str = "broken", seconds: float = 0, code: str = "", *, cut: bool = False) -> ErrorObserved:
    return ErrorObserved(f"e{text}", at(seconds), code, text, cut)


def after(
    *news: ProgressObserved | ErrorObserved | ObjectDeleted, size: int | None = SIZE, state: TransferState | None = None
) -> TransferState:
    """Return the state after these observations, two seconds of the portal's clock apart."""
    state = state or TransferState()
    for number, observation in enumerate(news):
        now = at(100 + 2 * number)
        if isinstance(observation, ErrorObserved) or (
            isinstance(observation, ObjectDeleted) and observation.etag.startswith("e")
        ):
            state = next_transfer_state(state, size, now, error=observation)
        else:
            state = next_transfer_state(state, size, now, progress=observation)
    return state


@pytest.mark.parametrize(
    ("value", "status", "done"),
    [
        (0, Status.PENDING, 0),
        (1, Status.LOADING, 1),
        (SIZE - 1, Status.LOADING, SIZE - 1),
        (SIZE, Status.COMPLETE, SIZE),
    ],
)
def test_bytes_decide_the_status(value: int, status: Status, done: int) -> None:
    state = after(progress(value))
    assert (state.status, state.bytes_done, state.bytes_total) == (status, done, SIZE)


def test_a_listed_item_without_reports_is_pending_with_its_total() -> None:
    state = next_transfer_state(TransferState(), SIZE, START)
    assert (state.status, state.bytes_total, state.listed, state.bytes_reported) == ("pending", SIZE, True, None)


def test_an_item_of_zero_bytes_is_complete_at_zero() -> None:
    assert after(progress(0), size=0).status == Status.COMPLETE


def test_without_a_manifest_the_total_is_unknown_and_nothing_is_complete() -> None:
    state = after(progress(SIZE), size=None)
    assert (state.status, state.bytes_done, state.bytes_total, state.listed) == ("loading", SIZE, None, False)


def test_a_manifest_that_comes_later_gives_the_total() -> None:
    state = next_transfer_state(after(progress(SIZE), size=None), SIZE, at(200))
    assert (state.status, state.bytes_total, state.listed) == ("complete", SIZE, True)


def test_more_than_the_total_is_capped_flagged_and_never_complete() -> None:
    state = after(progress(SIZE + 1))
    assert (state.status, state.bytes_done, state.bytes_reported) == ("loading", SIZE, SIZE + 1)
    assert state.oversized
    assert not after(progress(SIZE + 1), progress(SIZE, 2)).oversized


def test_the_total_moves_with_the_manifest_and_so_does_the_status() -> None:
    state = next_transfer_state(after(progress(SIZE)), 2 * SIZE, at(200))
    assert (state.status, state.bytes_done, state.bytes_total) == ("loading", SIZE, 2 * SIZE)
    state = next_transfer_state(state, SIZE // 2, at(300))
    assert (state.bytes_done, state.oversized, state.status) == (SIZE // 2, True, "loading")


def test_an_item_the_manifest_leaves_out_keeps_its_figures_and_is_no_longer_listed() -> None:
    state = next_transfer_state(after(progress(500)), None, at(200))
    assert (state.listed, state.bytes_done, state.bytes_total, state.status) == (False, 500, SIZE, "loading")


def test_an_unreadable_progress_keeps_the_last_good_value() -> None:
    state = after(progress(500), progress(None, 2))
    assert (state.bytes_done, state.bytes_reported, state.unreadable, state.status) == (500, 500, True, "loading")
    assert (state.as_of, state.progress_at) == (at(0), at(2))
    assert not after(progress(600, 4), state=state).unreadable


def test_only_an_unreadable_progress_is_pending() -> None:
    state = after(progress(None))
    assert (state.status, state.unreadable, state.bytes_reported) == ("pending", True, None)


def test_going_backwards_is_followed_and_flagged_until_the_item_is_whole() -> None:
    state = after(progress(900), progress(300, 2))
    assert (state.bytes_done, state.restarted, state.rate_bps) == (300, True, None)
    assert after(progress(400, 4), state=state).restarted
    assert not after(progress(SIZE, 4), state=state).restarted


def test_a_complete_item_that_goes_back_is_loading_again_and_not_finished() -> None:
    state = after(progress(500), progress(SIZE, 2), progress(100, 4))
    assert (state.status, state.finished_at, state.started_at, state.restarted) == ("loading", None, at(4), True)


def test_an_older_object_never_replaces_a_newer_one() -> None:
    state = after(progress(500, 10))
    assert next_transfer_state(state, SIZE, at(200), progress=progress(900, 9)) == state
    state = after(error("new", 10))
    assert next_transfer_state(state, SIZE, at(200), error=error("old", 9)) == state


def test_within_one_second_the_etag_decides() -> None:
    state = after(progress(500, 10))
    assert next_transfer_state(state, SIZE, at(200), progress=progress(600, 10)).bytes_done == 600
    assert next_transfer_state(state, SIZE, at(200), progress=progress(500, 10)) == state


def test_an_error_fails_the_item_and_keeps_its_bytes() -> None:
    state = after(progress(500), error("disk", 2, Code.IO_ERROR, cut=True))
    assert (state.status, state.bytes_done) == ("failed", 500)
    assert (state.error_code, state.error, state.error_cut, state.error_past) == ("IO_ERROR", "disk", True, False)
    assert (state.rate_bps, state.finished_at) == (None, None)


def test_an_error_that_vanishes_leaves_the_item_as_its_bytes_say() -> None:
    state = after(progress(500), error("disk", 2), ObjectDeleted("edisk"))
    assert (state.status, state.error, state.error_etag, state.error_cut) == ("loading", "", "", False)


@pytest.mark.parametrize(
    ("error_at", "status", "past"), [(9, "complete", True), (10, "failed", False), (11, "failed", False)]
)
def test_complete_wins_over_an_error_only_if_it_is_newer(error_at: float, status: str, past: bool) -> None:
    whole, failed = progress(SIZE, 10), error("x", error_at)
    for state in (after(whole, failed), after(failed, whole)):
        assert (state.status, state.error_past, state.error) == (status, past, "x")


def test_the_same_bytes_rewritten_count_for_a_later_time() -> None:
    state = after(progress(500, 3))
    again = next_transfer_state(state, SIZE, at(200), progress=ObjectRewritten("p500", at(9)))
    assert (again.as_of, again.progress_at, again.bytes_done, again.moved_at) == (at(9), at(9), 500, state.moved_at)
    assert next_transfer_state(state, SIZE, at(200), progress=ObjectRewritten("p500", at(2))) == state
    assert next_transfer_state(state, SIZE, at(200), progress=ObjectRewritten("another", at(9))) == state
    assert after(progress(None, 5), state=state).as_of == at(3)
    unreadable = next_transfer_state(
        after(progress(500, 3), progress(None, 5)), SIZE, at(200), progress=ObjectRewritten("pNone", at(9))
    )
    assert (unreadable.as_of, unreadable.progress_at) == (at(3), at(9))


def test_an_item_reported_complete_again_has_a_past_error() -> None:
    state = after(progress(SIZE, 5), error("x", 8))
    assert state.status == Status.FAILED
    state = next_transfer_state(state, SIZE, at(200), progress=ObjectRewritten(f"p{SIZE}", at(9)))
    assert (state.status, state.error_past) == ("complete", True)
    state = next_transfer_state(state, SIZE, at(300), error=ObjectRewritten("ex", at(10)))
    assert (state.status, state.error_past) == ("failed", False)


def test_a_progress_that_vanishes_deletes_the_transfer_and_its_return_brings_it_back() -> None:
    state = after(progress(500), ObjectDeleted("p500"))
    assert (state.status, state.bytes_done, state.bytes_reported) == ("deleted", 0, None)
    assert next_transfer_state(state, SIZE, at(300)) == state
    assert after(progress(500, 5), state=state).status == Status.LOADING


def test_a_replaced_item_is_not_marked_deleted_by_an_older_deletion() -> None:
    state = after(progress(500))
    assert next_transfer_state(state, SIZE, at(200), progress=ObjectDeleted("another")) == state
    state = after(error("x"))
    assert next_transfer_state(state, SIZE, at(200), error=ObjectDeleted("another")) == state


def test_start_and_end_are_the_moments_of_the_objects() -> None:
    state = after(progress(0, 0), progress(500, 5), progress(SIZE, 9))
    assert (state.started_at, state.finished_at, state.as_of) == (at(5), at(9), at(9))
    assert after(progress(0, 3), progress(SIZE, 9)).started_at == at(3)
    assert after(progress(SIZE, 9)).started_at is None, "no poll observed its start"


def test_moved_at_is_the_portals_own_clock_and_moves_with_bytes_only() -> None:
    state = after(progress(500))
    assert state.moved_at == at(100)
    assert next_transfer_state(state, SIZE, at(200), progress=progress(None, 3)).moved_at == at(100)
    assert next_transfer_state(state, SIZE, at(200), progress=progress(501, 3)).moved_at == at(200)


def test_the_rate_is_that_of_what_the_portal_saw() -> None:
    assert after(progress(100)).rate_bps is None
    assert after(progress(100), progress(300, 2)).rate_bps == 100
    assert after(progress(100), progress(SIZE, 2)).rate_bps is None, "nothing moves any more"


def test_a_stalled_item_that_moves_is_no_longer_stalled() -> None:
    state = after(progress(500))
    stalled = state._replace(stalled=True)
    assert next_transfer_state(stalled, SIZE, at(900)).stalled
    assert not next_transfer_state(stalled, SIZE, at(900), progress=progress(501, 3)).stalled
    assert not next_transfer_state(stalled, SIZE, at(900), error=error("x", 3)).stalled


def test_the_largest_number_a_database_holds_is_taken() -> None:
    assert after(progress(COUNT_LIMIT), size=None).bytes_done == COUNT_LIMIT


MOMENTS = st.integers(0, 5)
NEWS = st.one_of(
    st.builds(progress, st.one_of(st.none(), st.integers(0, 3).map(lambda n: n * 500)), MOMENTS),
    st.builds(error, st.sampled_from("ab"), MOMENTS),
    st.sampled_from([ObjectDeleted("p500"), ObjectDeleted("p1000"), ObjectDeleted("ea"), ObjectDeleted("eb")]),
)
SIZES = st.sampled_from([None, 0, 500, 1000])


@given(st.lists(st.tuples(NEWS, SIZES), max_size=8))
def test_every_state_it_reaches_is_one_the_database_takes(
    history: list[tuple[ProgressObserved | ErrorObserved | ObjectDeleted, int | None]],
) -> None:
    state = TransferState()
    for observation, size in history:
        state = after(observation, size=size, state=state)
        assert state.bytes_done >= 0
        assert state.bytes_total is None or state.bytes_done <= state.bytes_total
        assert (state.status == Status.COMPLETE) <= (
            state.bytes_total is not None and state.bytes_done == state.bytes_total
        )
        assert (state.status == Status.FAILED) == (state.error_etag != "" and not state.error_past)
        assert (state.finished_at is not None) == (state.status == Status.COMPLETE)
        assert state.listed == (size is not None)
        assert not state.stalled
        assert (state.rate_bps or 0) >= 0


@given(st.lists(st.tuples(NEWS, SIZES), max_size=6), NEWS, SIZES)
def test_seeing_the_same_again_changes_nothing(
    history: list[tuple[ProgressObserved | ErrorObserved | ObjectDeleted, int | None]],
    last: ProgressObserved | ErrorObserved | ObjectDeleted,
    size: int | None,
) -> None:
    state = TransferState()
    for observation, known in history:
        state = after(observation, size=known, state=state)
    once = after(last, size=size, state=state)
    assert after(last, size=size, state=once) == once
    assert next_transfer_state(once, size, at(9000)) == once
