"""Retries of one-off work: the policy as a pure function, and the columns, tested with exports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ifeportal.exports.models import Export, ExportState
from ifeportal.jobs.retries import RetryPolicy, WorkFailure
from ifeportal.models import User
from loader.errors import Code, WorldError

pytestmark = pytest.mark.both_databases

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
AWAY = WorkFailure.of(WorldError(Code.NETWORK, "the store refuses connections"), "Wait.")


def test_pauses_grow_up_to_the_longest_until_attempts_run_out() -> None:
    policy = RetryPolicy()
    pauses = [policy.next_pause(attempts, AWAY) for attempts in range(1, 10)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, None, None]
    assert RetryPolicy(3, 1.0, 10.0, 5.0).next_pause(2, AWAY) == 5.0


def test_a_permanent_failure_is_not_tried_again() -> None:
    assert RetryPolicy().next_pause(1, WorkFailure.of(WorldError(Code.FORBIDDEN))) is None


def test_the_other_side_is_given_the_time_it_asks_for() -> None:
    throttled = WorkFailure.of(WorldError(Code.THROTTLED, retry_after=90.0))
    assert RetryPolicy().next_pause(1, throttled) == 90.0
    assert RetryPolicy().next_pause(3, WorkFailure(Code.NETWORK, "", retry_after=1.0)) == 8.0


@pytest.fixture
def export(db: None) -> Export:
    return Export.objects.create(user=User.objects.create_user("mona"), path="/", name="tails.csv")


def test_an_attempt_that_ends_with_its_worker_is_counted_and_due_after_the_longest_pause(export: Export) -> None:
    assert export.begin_attempt(NOON, state=ExportState.WRITING)
    row = Export.objects.get()
    assert (row.attempts, export.attempts, row.state) == (1, 1, ExportState.WRITING)
    assert not Export.objects.due(NOON + timedelta(seconds=59)).exists()
    assert Export.objects.due(NOON + timedelta(seconds=60)).exists()


def test_failed_work_is_due_after_its_pause_and_records_the_reason(export: Export) -> None:
    export.begin_attempt(NOON)
    export.begin_attempt(NOON)
    assert export.postpone(AWAY, NOON)
    row = Export.objects.get()
    assert (row.attempts, row.error_code, row.error, row.advice) == (2, "NETWORK", AWAY.error, "Wait.")
    assert row.next_try_at == NOON + timedelta(seconds=4)


def test_work_that_is_given_up_keeps_its_error(export: Export) -> None:
    export.attempts = Export.retry_policy.max_attempts
    assert not export.postpone(AWAY, NOON)
    assert export.give_up(AWAY, state=ExportState.FAILED)
    row = Export.objects.get()
    assert (row.state, row.attempts, row.next_try_at, row.error_code) == (ExportState.FAILED, 3, None, "NETWORK")


def test_an_attempt_at_a_request_that_was_withdrawn_meanwhile_changes_nothing(export: Export) -> None:
    Export.objects.update(state=ExportState.FAILED)
    assert not export.begin_attempt(NOON)
    export.postpone(AWAY, NOON)
    assert not export.give_up(AWAY, state=ExportState.QUEUED)
    row = Export.objects.get()
    assert (row.state, row.attempts, row.error_code, export.attempts) == (ExportState.FAILED, 0, "", 0)
