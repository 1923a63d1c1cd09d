"""When a load or an item turns: values in, an event or none out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.choices import Inconsistency
from fleet.history.events import Was, of_item, of_load, turn
from fleet.models import Load, Tail
from fleet.state.transfer import TransferState

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SEEN = NOW - timedelta(seconds=30)
LOADING = Was("loading", bytes_done=5_000, bytes_total=9_000, as_of=SEEN)


def failed(code: str, text: str) -> Was:
    return of_item(TransferState(status="failed", error_code=code, error=text, as_of=SEEN))


@pytest.mark.parametrize(
    ("before", "after", "state", "text"),
    [
        (None, Was("pending"), "pending", ""),
        (None, LOADING, "loading", ""),
        (Was("pending"), LOADING, "loading", ""),
        (LOADING, LOADING._replace(bytes_done=6_000), None, ""),
        (LOADING, LOADING._replace(bytes_total=None), None, ""),
        (LOADING, LOADING._replace(state="stalled"), "stalled", ""),
        (LOADING._replace(state="stalled"), LOADING, "loading", "It goes on; before it was stalled."),
        (LOADING._replace(state="silent"), LOADING, "loading", "It goes on; before it was silent."),
        (Was("waiting", text="no link"), LOADING, "loading", "It goes on; before it was waiting."),
        (LOADING, Was("waiting", text="no link"), "waiting", "no link"),
        (Was("waiting", text="no link"), Was("waiting", text="out of hours"), None, ""),
        (LOADING, Was("complete"), "complete", ""),
        (Was("complete"), Was("deleted"), "deleted", ""),
        (LOADING, failed("IO_ERROR", "disk"), "failed", "disk"),
        (failed("IO_ERROR", "disk"), LOADING, "loading", "Its error is gone."),
        (failed("IO_ERROR", "disk"), failed("IO_ERROR", "disk"), None, ""),
        (failed("IO_ERROR", "disk"), failed("NO_SPACE", "disk"), "failed", "disk"),
        (failed("", "line 3: no route"), failed("", "line 4: no route"), None, ""),
        (failed("", "no route"), failed("", "no disk"), "failed", "no disk"),
        (failed("TIMEOUT", ""), failed("NETWORK", ""), "failed", ""),
    ],
)
def test_a_turn_is_another_state_or_another_error(before: Was | None, after: Was, state: str | None, text: str) -> None:
    found = turn(before, after, NOW)
    assert (None if found is None else (found.state, found.text)) == (None if state is None else (state, text))


def test_bytes_of_an_item_that_go_down_are_a_turn_each_time() -> None:
    back = LOADING._replace(state="restarted", bytes_done=1_000)
    first = turn(LOADING, back, NOW, back=True)
    assert first is not None
    assert (first.state, first.text, first.bytes_done) == ("restarted", "It began anew; before it held 5.00 kB.", 1_000)
    assert turn(back, back._replace(bytes_done=3_000), NOW, back=True) is None
    again = turn(back._replace(bytes_done=3_000), back._replace(bytes_done=2_000), NOW, back=True)
    assert again is not None
    assert again.text == "It began anew; before it held 3.00 kB."
    assert turn(LOADING, LOADING._replace(bytes_done=10), NOW) is None, "of a load, whose manifest may be another"


def test_an_item_that_begins_anew_from_nothing_has_restarted_once() -> None:
    held = TransferState(status="loading", bytes_done=5_000, bytes_reported=5_000)
    empty = TransferState(status="pending", restarted=True)
    going = TransferState(status="loading", restarted=True, bytes_done=100, bytes_reported=100)
    assert of_item(empty).state == "restarted"
    assert turn(of_item(held), of_item(empty), NOW, back=True) is not None
    assert turn(of_item(empty), of_item(going), NOW, back=True) is None


def test_it_happened_when_the_object_was_written_that_told_of_it_else_when_the_portal_saw_it() -> None:
    later = SEEN + timedelta(seconds=10)
    told = turn(LOADING, LOADING._replace(state="complete", as_of=later), NOW)
    seen = turn(LOADING, LOADING._replace(state="stalled"), NOW)
    first = turn(None, LOADING, NOW)
    nothing = turn(None, Was("pending"), NOW)
    assert [each.at for each in (told, seen, first, nothing) if each] == [later, NOW, SEEN, NOW]


def test_a_load_is_told_with_what_its_state_does_not_say() -> None:
    tail = Tail(name="N1", loader_reason="no link")
    waiting = of_load(Load(tail=tail, status="loading", waiting=True))
    odd = of_load(Load(tail=tail, status="loading", contradiction=Inconsistency.OVERSIZED))
    ill = of_load(Load(tail=tail, status="failed", error_code="IO_ERROR", error="disk", error_content="movie-001"))
    other = of_load(Load(tail=tail, status="failed", error_code="NO_SPACE", error="full", error_content="movie-002"))
    own = of_load(Load(tail=tail, status="failed", error_code="BAD_MANIFEST", error="content[0]: no name"))
    assert (waiting.state, waiting.text) == ("waiting", "no link")
    assert (odd.state, odd.text) == ("contradiction", "reports more bytes than an item has")
    assert (ill.error_code, ill.text) == ("IO_ERROR", "movie-001: disk")
    assert turn(ill, other, NOW) is None, "that another item failed is the turn of that item"
    changed = turn(ill, own, NOW)
    assert changed is not None
    assert changed.text == "content[0]: no name"
