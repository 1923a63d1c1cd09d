"""When a load or an item changes its state: values in, an event or none out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.choices import Inconsistency
from fleet.history.events import HistoryState, event_between, load_history_state, transfer_history_state
from fleet.models import Load, Tail
from fleet.state.transfer import TransferState

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
OBSERVED_AT = NOW - timedelta(seconds=30)
LOADING = HistoryState("loading", bytes_done=5_000, bytes_total=9_000, as_of=OBSERVED_AT)


def failed(code: str, text: str) -> HistoryState:
    return transfer_history_state(TransferState(status="failed", error_code=code, error=text, as_of=OBSERVED_AT))


@pytest.mark.parametrize(
    ("before", "after", "state", "text"),
    [
        (None, HistoryState("pending"), "pending", ""),
        (None, LOADING, "loading", ""),
        (HistoryState("pending"), LOADING, "loading", ""),
        (LOADING, LOADING._replace(bytes_done=6_000), None, ""),
        (LOADING, LOADING._replace(bytes_total=None), None, ""),
        (LOADING, LOADING._replace(state="stalled"), "stalled", ""),
        (LOADING._replace(state="stalled"), LOADING, "loading", "Resumed after stalled."),
        (LOADING._replace(state="silent"), LOADING, "loading", "Resumed after silent."),
        (HistoryState("waiting", text="no link"), LOADING, "loading", "Resumed after waiting."),
        (LOADING, HistoryState("waiting", text="no link"), "waiting", "no link"),
        (HistoryState("waiting", text="no link"), HistoryState("waiting", text="out of hours"), None, ""),
        (LOADING, HistoryState("complete"), "complete", ""),
        (HistoryState("complete"), HistoryState("deleted"), "deleted", ""),
        (LOADING, failed("IO_ERROR", "disk"), "failed", "disk"),
        (failed("IO_ERROR", "disk"), LOADING, "loading", "Error cleared."),
        (failed("IO_ERROR", "disk"), failed("IO_ERROR", "disk"), None, ""),
        (failed("IO_ERROR", "disk"), failed("NO_SPACE", "disk"), "failed", "disk"),
        (failed("", "line 3: no route"), failed("", "line 4: no route"), None, ""),
        (failed("", "no route"), failed("", "no disk"), "failed", "no disk"),
        (failed("TIMEOUT", ""), failed("NETWORK", ""), "failed", ""),
    ],
)
def test_a_turn_is_another_state_or_another_error(
    before: HistoryState | None, after: HistoryState, state: str | None, text: str
) -> None:
    found = event_between(before, after, NOW)
    assert (None if found is None else (found.state, found.text)) == (None if state is None else (state, text))


def test_bytes_of_an_item_that_go_down_are_a_turn_each_time() -> None:
    back = LOADING._replace(state="restarted", bytes_done=1_000)
    first = event_between(LOADING, back, NOW, decrease_is_event=True)
    assert first is not None
    assert (first.state, first.text, first.bytes_done) == ("restarted", "Restarted from 0 (had 5.00 kB).", 1_000)
    assert event_between(back, back._replace(bytes_done=3_000), NOW, decrease_is_event=True) is None
    again = event_between(back._replace(bytes_done=3_000), back._replace(bytes_done=2_000), NOW, decrease_is_event=True)
    assert again is not None
    assert again.text == "Restarted from 0 (had 3.00 kB)."
    assert event_between(LOADING, LOADING._replace(bytes_done=10), NOW) is None, (
        "of a load, whose manifest may be another"
    )


def test_an_item_that_restarts_from_zero_has_restarted_once() -> None:
    previous = TransferState(status="loading", bytes_done=5_000, bytes_reported=5_000)
    empty = TransferState(status="pending", restarted=True)
    going = TransferState(status="loading", restarted=True, bytes_done=100, bytes_reported=100)
    assert transfer_history_state(empty).state == "restarted"
    assert (
        event_between(transfer_history_state(previous), transfer_history_state(empty), NOW, decrease_is_event=True)
        is not None
    )
    assert (
        event_between(transfer_history_state(empty), transfer_history_state(going), NOW, decrease_is_event=True) is None
    )


def test_an_event_has_the_time_of_its_object_or_when_the_portal_saw_it() -> None:
    later = OBSERVED_AT + timedelta(seconds=10)
    reported = event_between(LOADING, LOADING._replace(state="complete", as_of=later), NOW)
    observed = event_between(LOADING, LOADING._replace(state="stalled"), NOW)
    first = event_between(None, LOADING, NOW)
    nothing = event_between(None, HistoryState("pending"), NOW)
    assert [each.at for each in (reported, observed, first, nothing) if each] == [later, NOW, OBSERVED_AT, NOW]


def test_an_event_of_a_load_describes_more_than_its_state() -> None:
    tail = Tail(name="N1", loader_reason="no link")
    waiting = load_history_state(Load(tail=tail, status="loading", waiting=True))
    odd = load_history_state(Load(tail=tail, status="loading", contradiction=Inconsistency.OVERSIZED))
    ill = load_history_state(
        Load(tail=tail, status="failed", error_code="IO_ERROR", error="disk", error_content="movie-001")
    )
    other = load_history_state(
        Load(tail=tail, status="failed", error_code="NO_SPACE", error="full", error_content="movie-002")
    )
    own = load_history_state(Load(tail=tail, status="failed", error_code="BAD_MANIFEST", error="content[0]: no name"))
    assert (waiting.state, waiting.text) == ("waiting", "no link")
    assert (odd.state, odd.text) == ("contradiction", "reports more bytes than an item has")
    assert (ill.error_code, ill.text) == ("IO_ERROR", "movie-001: disk")
    assert event_between(ill, other, NOW) is None, "that another item failed is the turn of that item"
    changed = event_between(ill, own, NOW)
    assert changed is not None
    assert changed.text == "content[0]: no name"
