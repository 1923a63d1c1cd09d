"""Progress: monotonic within a stage, with a smoothed rate. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ifeportal.operations.execution.progress import Progress
from ifeportal.operations.execution.slices import progress_columns
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.serialization import eta_seconds, percent

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
number = st.none() | st.integers(0, 10**6)
reports = st.lists(st.tuples(number, number, st.none() | st.sampled_from(["reading", "placing"])), max_size=20)


def row(progress: Progress, state: OperationState = OperationState.RUNNING) -> Operation:
    return Operation(state=state, **progress_columns(progress))


@given(reports)
def test_the_percent_falls_only_with_a_new_stage_and_is_100_only_at_the_end(
    reported: list[tuple[int | None, int | None, str | None]],
) -> None:
    progress = Progress()
    for seconds, (done, total, stage) in enumerate(reported):
        before, progress = progress, progress.advance(done, total, stage, NOW + timedelta(seconds=seconds))
        assert progress.total is None or 0 <= progress.done <= progress.total
        if progress.stage == before.stage:
            assert progress.done >= before.done
            assert (percent(row(progress)) or 0) >= (percent(row(before)) or 0)
        assert percent(row(progress)) != 100
    assert percent(row(progress, OperationState.SUCCEEDED)) == 100


def test_a_steady_rate_is_shown_as_it_is_and_a_pause_lowers_it() -> None:
    progress = Progress("reading", 0, 10**9, None, NOW)
    for second in range(1, 60):
        progress = progress.advance(second * 1_000_000, None, None, NOW + timedelta(seconds=second))
    assert progress.rate == 1_000_000
    assert eta_seconds(row(progress)) == 941
    paused = progress.advance(None, None, None, NOW + timedelta(seconds=67))
    assert paused.rate is not None
    assert 300_000 < paused.rate < 500_000


def test_a_new_stage_starts_at_its_own_bytes_without_a_rate() -> None:
    progress = Progress("reading", 70, 100, 9, NOW).advance(None, None, "placing", NOW)
    assert progress == Progress("placing", 0, 100, None, NOW)
    assert Progress("reading", 70, 100, 9, NOW).advance(5, 10, "placing", NOW).total == 10


def test_a_clock_that_goes_back_changes_no_rate() -> None:
    progress = Progress("reading", 70, 100, 9, NOW).advance(80, None, None, NOW - timedelta(seconds=5))
    assert (progress.done, progress.rate) == (80, 9)
