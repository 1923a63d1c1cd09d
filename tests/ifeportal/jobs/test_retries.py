"""Retries of one-off work: the policy as a pure function, and the columns, tested with drafts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from campaigns.models import Draft, DraftState
from ifeportal.jobs.retries import RetryPolicy, WorkFailure
from ifeportal.models import Airline
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
def draft(db: None) -> Draft:
    acme = Airline.objects.create(name="ACME")
    return Draft.objects.create(airline=acme, name="2026-12", state=DraftState.SCANNING, requested_at=NOON)


def test_an_attempt_that_ends_with_its_worker_is_counted_and_due_after_the_longest_pause(draft: Draft) -> None:
    assert draft.begin_attempt(NOON, last_worked_at=NOON)
    row = Draft.objects.get()
    assert (row.attempts, draft.attempts, row.last_worked_at) == (1, 1, NOON)
    assert not Draft.objects.due(NOON + timedelta(seconds=59)).exists()
    assert Draft.objects.due(NOON + timedelta(seconds=60)).exists()


def test_failed_work_is_due_after_its_pause_and_records_the_reason(draft: Draft) -> None:
    draft.begin_attempt(NOON)
    draft.begin_attempt(NOON)
    assert draft.postpone(AWAY, NOON)
    row = Draft.objects.get()
    assert (row.attempts, row.error_code, row.error, row.advice) == (2, "NETWORK", AWAY.error, "Wait.")
    assert row.next_try_at == NOON + timedelta(seconds=4)


def test_work_that_is_given_up_keeps_its_error_until_it_starts_over(draft: Draft) -> None:
    draft.attempts = RetryPolicy().max_attempts
    assert not draft.postpone(AWAY, NOON)
    assert draft.give_up(AWAY, state=DraftState.FAILED)
    row = Draft.objects.get()
    assert (row.state, row.attempts, row.next_try_at, row.error_code) == (DraftState.FAILED, 8, None, "NETWORK")
    assert Draft.objects.filter(pk=row.pk).start_over(state=DraftState.SCANNING) == 1
    row = Draft.objects.get()
    assert (row.state, row.attempts, row.error_code, row.error, row.advice) == (DraftState.SCANNING, 0, "", "", "")


def test_an_attempt_at_a_request_that_was_repeated_meanwhile_changes_nothing(draft: Draft) -> None:
    Draft.objects.update(requested_at=NOON + timedelta(minutes=1))
    assert not draft.begin_attempt(NOON)
    draft.postpone(AWAY, NOON)
    assert not draft.give_up(AWAY, state=DraftState.FAILED)
    row = Draft.objects.get()
    assert (row.state, row.attempts, row.error_code, draft.attempts) == (DraftState.SCANNING, 0, "", 0)
